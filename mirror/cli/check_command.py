"""``mirror check``."""

import asyncio

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import emit_json, print_line
from mirror.cli.progress import waiting
from mirror.errors import UsageError
from mirror.service.check import run_checks
from mirror.service.check_lines import CheckLine, exit_code_of
from mirror.service.check_target import check_target

__all__ = ["command"]

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}


@click.command(name="check")
@click.option(
    "--write-probe", is_flag=True, help="Also put, read and remove a tiny object below probe/ of the repository."
)
@click.option(
    "--target", metavar="ALIAS", help="Instead: what a restore into this cluster needs, an alias of [clusters]."
)
@click.option("--repository", metavar="ALIAS", help="With --target: where from.  [default: the worker's]")
@click.option("--topic", "topics", multiple=True, metavar="GLOB", help="With --target: only these stored topics.")
@click.option("--prefix", default="", metavar="TEXT", help="With --target: as they would be restored under.")
@json_option
@pass_cli
def command(
    cli: CliContext, write_probe: bool, target: str | None, repository: str | None, topics: tuple[str, ...], prefix: str
) -> int:
    """Check rights, reachability, versions, store behaviour and retention; changes nothing (but see --write-probe).

    For the worker and its source cluster; or with --target for a restore, which needs neither. Every missing right is named, with the
    command that grants it. Exits 0, or with the code of the worst failure: 13 unreachable, 12 rights, 11 another cluster's repository,
    10 no repository.
    """
    if target is None and (repository is not None or topics or prefix):
        raise UsageError("--repository, --topic and --prefix go with --target")
    if target is not None and write_probe:
        raise UsageError("--write-probe is for workers: a restore writes nothing to the store")
    with waiting(f"the cluster {target or 'that is backed up'} and the store", quiet=cli.as_json):
        if target is None:
            lines = asyncio.run(run_checks(cli.config(), write_probe=write_probe))
        else:
            lines = asyncio.run(
                check_target(cli.config(), target, repository=repository or "", topics=topics, prefix=prefix)
            )
    code = exit_code_of(lines)
    if cli.as_json:
        emit_json({"exit_code": code, "lines": lines})
        return code
    for line in lines:
        _show(line)
    failures = sum(1 for line in lines if line.level == "fail")
    warnings = sum(1 for line in lines if line.level == "warn")
    verdict = f"{failures} failed, {warnings} warnings" if failures else f"ready, {warnings} warnings"
    print_line(verdict, bold=True, color="red" if failures else "green")
    return code


def _show(line: CheckLine) -> None:
    print_line(f"{line.level:<4}  {line.area:<10}  {line.message}", color=_COLORS[line.level])
    if line.next_step:
        print_line(f"{'':<18}next: {line.next_step}")
    for text in line.commands:
        print_line(f"{'':<18}{text}")
