"""``mirror state``: the cluster beside its records, at any time since the backup began."""

import time
from typing import Any

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, human_count, print_line, print_table, utc
from mirror.cli.times import parse_moment
from mirror.core.cluster_state import ClusterState
from mirror.core.moments import format_moment
from mirror.errors import RefusedError, UsageError
from mirror.service.cluster_states import state_at
from mirror.service.state_diff import acl_text, diff_states, quota_text

__all__ = ["command"]

_COLORS = {"+": "green", "-": "red", "~": "yellow", "?": None}
_repository_option = click.option(
    "--repository", "alias", default="", metavar="ALIAS", help="Another repository than the worker's."
)


@click.group(name="state")
def command() -> None:
    """Show topics, settings, ACLs, client quotas and users as they were captured. Needs the repository only.

    Workers capture them within minutes of a change.
    """


@command.command(name="show")
@click.option("--at", "at_text", metavar="TIME", help="As it was then, such as 2026-11-23T02:41:07Z or '2h ago'.")
@_repository_option
@json_option
@pass_cli
def show(cli: CliContext, at_text: str | None, alias: str) -> None:
    """Show the state of the cluster: the newest that is stored, or that of a moment."""
    at_ms = None if at_text is None else _moment(at_text)
    repository = open_for(cli, alias)
    with waiting_for(cli, repository):
        state = state_at(repository, at_ms)
    if cli.as_json:
        emit_json({**_times(state, at_ms), "state": state})
    else:
        _print(state)


@command.command(name="diff")
@click.option(
    "--at", "at_texts", multiple=True, metavar="TIME", help="Twice: from then, to then; once: from then to the newest."
)
@_repository_option
@json_option
@pass_cli
def diff(cli: CliContext, at_texts: tuple[str, ...], alias: str) -> None:
    """Show what changed between two moments: + came, - went, ~ changed, ? cannot be compared."""
    if len(at_texts) not in (1, 2):
        raise UsageError(
            f"two moments are compared, {len(at_texts)} given", hint="mirror state diff --at '2h ago' --at '1h ago'"
        )
    moments: list[int | None] = [_moment(text) for text in at_texts]
    repository = open_for(cli, alias)
    with waiting_for(cli, repository):
        before, after = (state_at(repository, at_ms) for at_ms in (*moments, None)[:2])
    changes = diff_states(before, after)
    if cli.as_json:
        rows = [
            {
                "sign": one.sign,
                "kind": one.kind,
                "name": one.name,
                "what": one.what,
                "before": one.before,
                "after": one.after,
            }
            for one in changes
        ]
        after_ms = moments[1] if len(moments) > 1 else None
        emit_json({"from": _times(before, moments[0]), "to": _times(after, after_ms), "changes": rows})
        return
    print_line(f"from {_captured(before)} to {_captured(after)}", bold=True)
    for one in changes:
        print_line(one.text, color=_COLORS[one.sign])
    if not changes:
        print_line("no difference")


def _moment(text: str) -> int:
    """A time of the past, as typed.

    Raises:
        UsageError: no moment.
        RefusedError: it is in the future.
    """
    now_ms = time.time_ns() // 1_000_000
    at_ms = parse_moment(text, now_ms=now_ms)
    if at_ms > now_ms:
        raise RefusedError(f"{format_moment(at_ms)} is in the future", hint=f"now is {format_moment(now_ms)}")
    return at_ms


def _captured(state: ClusterState) -> str:
    return f"the capture of {utc(state.captured_at_ms)}"


def _times(state: ClusterState, at_ms: int | None) -> dict[str, Any]:
    return {
        "at": None if at_ms is None else utc(at_ms, with_ms=True),
        "at_ms": at_ms,
        "captured": utc(state.captured_at_ms, with_ms=True),
        "captured_ms": state.captured_at_ms,
    }


def _print(state: ClusterState) -> None:
    features = "".join(f", {name} {level}" for name, level in sorted((state.features or {}).items()))
    print_line(f"cluster {state.cluster_id}, captured {utc(state.captured_at_ms)}{features}", bold=True)
    print_table(
        ("topic", "partitions", "replicas", "settings", "id"),
        [(t.topic, t.partition_count, t.replication_factor, _settings(t.configs), t.topic_id) for t in state.topics],
        right=("partitions", "replicas"),
        optional=("id",),
    )
    print_table(
        ("broker", "address", "rack", "settings"),
        [
            (
                b.node_id,
                f"{b.host}:{b.port}",
                b.rack or "–",
                "?" if b.configs is None else f"{len(b.configs)} not default",
            )
            for b in state.brokers
        ],
        right=("broker",),
    )
    if state.users:
        print_table(("SCRAM user", "mechanisms"), [(one.user, ", ".join(one.mechanisms)) for one in state.users])
    for acl in state.acls or ():
        print_line(f"acl {acl_text(acl)}")
    for quota in state.quotas or ():
        print_line(f"quota {quota_text(quota)}")
    for note in state.notes:
        print_line(f"note: {note}")
    print_line(
        f"topics: {human_count(len(state.topics))}, brokers: {len(state.brokers)}, "
        f"ACLs: {'?' if state.acls is None else human_count(len(state.acls))}, "
        f"client quotas: {'?' if state.quotas is None else human_count(len(state.quotas))}, "
        f"SCRAM users: {'?' if state.users is None else human_count(len(state.users))}",
        bold=True,
    )
    print_line("next: `mirror state diff --at TIME` says what changed since then; --json has the settings of brokers")


def _settings(configs: dict[str, str] | None) -> str:
    if configs is None:
        return "?"
    return " ".join(f"{name}={value}" for name, value in sorted(configs.items()))
