"""``mirror restore resume``: go on with a restore by its id."""

import asyncio

import click
import msgspec

from mirror.cli.consent import Consent, consent_options
from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import print_line, utc
from mirror.cli.rates import RATE_HELP, parse_rate
from mirror.cli.restore_command import RunOptions, open_session, require_consentable, run_restore
from mirror.cli.restore_named import find_named

__all__ = ["resume_command"]


@click.command(name="resume")
@click.argument("restore", metavar="ID")
@click.option("--repository", default="", metavar="ALIAS", help="Another repository than the worker's.")
@click.option("--allow-missing", is_flag=True, help="Without the offsets that are missing or cannot be read.")
@click.option("--limit-rate", metavar="RATE", help=RATE_HELP)
@consent_options
@click.option(
    "--replace-topics",
    type=click.IntRange(0),
    metavar="COUNT",
    help="With --yes: so many topics, or fewer, may be destroyed.",
)
@json_option
@pass_cli
def resume_command(
    cli: CliContext,
    restore: str,
    repository: str,
    allow_missing: bool,
    limit_rate: str | None,
    yes: bool,
    target_cluster_id: str | None,
    replace_topics: int | None,
    reason: str,
) -> int:
    """Run exactly the plan of a restore again: it goes on where the target stands, nothing twice. Asks as `mirror restore` does.

    Where it stopped at stored bytes that cannot be read, --allow-missing brings all the others, and says what is missing.

    ID is as `mirror restore list` shows it, its first letters, or the file of its plan.
    """
    rate = parse_rate(limit_rate) if limit_rate else None
    named = find_named(cli, repository, restore)
    planned = named.planned
    if allow_missing:
        planned = msgspec.structs.replace(planned, allow_missing=True)
    if named.history is not None and named.history.state == "aborted" and not cli.as_json:
        print_line(
            f"{named.restore_id} was aborted at {utc(named.history.undone_at_ms or 0)}: this loads all of it again",
            color="yellow",
        )
    target = planned.target
    consent = Consent(yes=yes, cluster_id=target_cluster_id)
    require_consentable(cli, target, consent)
    options = RunOptions(
        rate=rate, consent=consent, reason=reason, repository=repository or None, replace_topics=replace_topics
    )
    opened = open_session(cli, repository, target)
    return asyncio.run(run_restore(cli, opened, target, planned.selection, planned, options))
