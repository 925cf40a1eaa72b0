"""A restore that a person names: by its id, or by the file of its plan where no record is kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mirror.cli.context import CliContext
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import utc
from mirror.cli.progress import waiting
from mirror.core.restore_record import RecordedTopic, RestoreHistory
from mirror.core.state_undo import put_by
from mirror.errors import DamageError, RefusedError, UsageError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import describe_cluster
from mirror.service.restore.plan_file import PlanFile, decode_plan, read_plan_file
from mirror.service.restore.records import find_restore, list_restores, read_history
from mirror.service.restore.standing import TopicStanding, stand_of, topics_of_plan
from mirror.service.wiring import connection_for
from mirror.storage.repository import Repository

__all__ = ["NamedRestore", "NamedTarget", "find_named", "history_json", "on_target", "standings_of", "when_ran"]


class NamedRestore(NamedTuple):
    """A restore, its repository, and its record; None where none is kept."""

    repository: Repository
    planned: PlanFile
    history: RestoreHistory | None

    @property
    def restore_id(self) -> str:
        """Its id."""
        return self.planned.restore_id if self.history is None else self.history.restore_id

    @property
    def topics(self) -> list[RecordedTopic]:
        """Its topics as last planned."""
        return topics_of_plan(self.planned) if self.history is None else self.history.planned.topics


class NamedTarget(NamedTuple):
    """The cluster that a restore loads."""

    target_alias: str
    target_cluster_id: str
    target_bootstrap: str
    is_source: bool


def find_named(cli: CliContext, repository: str, name: str) -> NamedRestore:
    """The restore of that id, or of that plan's file.

    Raises:
        NoMatchError, RefusedError, DamageError: see :func:`mirror.service.restore.records.find_restore`.
        UsageError: the file is no plan.
    """
    is_file = Path(name).is_file()
    if not is_file and ("/" in name or name.endswith(".json")):
        raise UsageError(f"{name}: no such file", hint="give the file of the plan, or an id of `mirror restore list`")
    planned = read_plan_file(Path(name)) if is_file else None
    source = open_for(cli, repository, goes_on=True)
    with waiting_for(cli, source):
        if planned is not None:
            if planned.repository_id != source.identity.repository_id:
                raise RefusedError(
                    f"the plan is of repository {planned.repository_id}, {source.address} is {source.identity.repository_id}",
                    hint="--repository names the one it is of",
                )
            known = planned.restore_id in list_restores(source)
            return NamedRestore(source, planned, read_history(source, planned.restore_id) if known else None)
        history = read_history(source, find_restore(source, name))
    found = history.planned
    if found.repository_id != source.identity.repository_id:
        raise DamageError(
            f"the record of {history.restore_id} is of repository {found.repository_id}: it was copied here"
        )
    return NamedRestore(source, decode_plan(found.plan, f"the record of {history.restore_id}"), history)


@asynccontextmanager
async def on_target(cli: CliContext, named: NamedRestore) -> AsyncIterator[tuple[MirrorClient, Admin, NamedTarget]]:
    """Connections to its target.

    Raises:
        ConfigError: there is no cluster of that alias.
        RefusedError: the alias names another cluster now.
        UnreachableError, AccessError, ClusterError.
    """
    alias = named.planned.target
    config = cli.config().cluster(alias)
    connection = connection_for(config)
    with waiting(f"the cluster {alias}", quiet=cli.as_json):
        client = await open_client(connection)
    async with client:
        cluster_id = (await describe_cluster(client, [])).cluster_id
        if cluster_id != named.planned.target_cluster_id:
            raise RefusedError(
                f"restore {named.restore_id} loads cluster {named.planned.target_cluster_id}, {alias} is {cluster_id} now",
                hint="see which cluster the alias names: `mirror config show`",
            )
        is_source = config.role == "source" or cluster_id == named.repository.identity.cluster_id
        yield client, Admin(connection, client), NamedTarget(alias, cluster_id, connection.where, is_source)


def when_ran(history: RestoreHistory) -> str:
    """When it was begun first."""
    return utc(history.starts[0].written_at_ms) if history.starts else utc(history.plans[0].written_at_ms)


def history_json(history: RestoreHistory) -> dict[str, Any]:
    """The record, without the plan."""
    ends = {end.started_at_ms: end for end in history.ends}
    put = put_by(history)
    point = decode_plan(history.planned.plan, history.restore_id).selection.point
    return {
        "restore_id": history.restore_id,
        "state": history.state,
        "reason": history.reason,
        "target": history.planned.target,
        "target_cluster_id": history.planned.target_cluster_id,
        "recovery_point": point.option,
        "plan_digest": history.planned.plan_digest,
        "topics": len(history.planned.topics),
        "runs": [
            {
                "verb": start.verb,
                "started": utc(start.written_at_ms, with_ms=True),
                "ended": utc(end.written_at_ms, with_ms=True) if (end := ends.get(start.written_at_ms)) else None,
                "user": start.user,
                "host": start.host,
                "version": start.version,
                "command": start.command,
                "reason": start.reason,
                "outcome": end and end.outcome,
                "exit_code": end and end.exit_code,
                "loaded_records": end and end.loaded_records,
                "loaded_bytes": end and end.loaded_bytes,
                "error": end and end.error,
                "notes": end and end.notes,
                "unreadable": end and [msgspec.structs.asdict(lost) for lost in end.unreadable],
            }
            for start in history.starts
        ],
        "put_acls": len(put.acls),
        "put_quotas": len(put.quotas),
        "proofs": [{"at": utc(one.written_at_ms, with_ms=True), "proved": one.proved} for one in history.proofs],
    }


async def standings_of(cli: CliContext, named: NamedRestore) -> list[TopicStanding]:
    """What there is of each of its topics on the target now; raises what `on_target` raises."""
    async with on_target(cli, named) as (client, admin, _):
        return await stand_of(client, admin, named.topics)
