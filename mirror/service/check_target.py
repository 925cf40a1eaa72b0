"""`mirror check --target`: what a restore into a cluster will need, looked at before it is needed. Changes nothing."""

import asyncio
from collections.abc import Mapping

from mirror.config import Config
from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import PartitionId
from mirror.core.restore_rights import LOADING, MissingRight, RestoreNeeds, text_of
from mirror.core.topic_filter import TopicFilter
from mirror.errors import AccessError, MirrorError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import ClusterDescription, describe_cluster
from mirror.kafka.connection import ClusterConnection
from mirror.service.check_lines import CheckLine, failed, grant_command, ok, warned
from mirror.service.check_source import principal_of, version_lines
from mirror.service.check_store import check_store
from mirror.service.groups import choose_group_log, read_groups
from mirror.service.restore.fillers import TRANSACTIONAL_ID_PREFIX
from mirror.service.restore.rights import find_missing_rights
from mirror.service.restore.run import read_inventory
from mirror.service.wiring import connection_for, open_configured_repository

__all__ = ["check_target"]

_AREA = "target"
_PATIENCE_S = 15.0


async def check_target(
    config: Config, alias: str, *, repository: str = "", topics: tuple[str, ...] = (), prefix: str = ""
) -> list[CheckLine]:
    """All lines about restoring what is stored into that cluster.

    Args:
        config: the configuration.
        alias: of the cluster.
        repository: alias; empty for the worker's.
        topics: names or globs of stored topics; empty for all.
        prefix: before the names that they get, as of `mirror restore --prefix`.

    Raises:
        ConfigError: there is no such cluster.
    """
    cluster = config.cluster(alias)
    lines = await asyncio.to_thread(check_store, config, alias=repository, cluster_id=None, write_probe=None)
    needs = None
    if not any(line.level == "fail" for line in lines):
        try:
            needs, seen = await asyncio.to_thread(_stored_needs, config, repository, topics, prefix)
            lines.append(seen)
        except MirrorError as error:
            lines.append(failed("repository", error))
    try:
        connection = connection_for(cluster)
        client = await asyncio.wait_for(open_client(connection), _PATIENCE_S)
    except TimeoutError:
        line = failed(_AREA, f"no answer within {_PATIENCE_S:.0f} s", "check bootstrap_servers", exit_code=13)
        return [*lines, line]
    except MirrorError as error:
        return [*lines, failed(_AREA, error)]
    async with client:
        try:
            described = await describe_cluster(client)
            brokers = len(described.brokers)
            lines.append(ok(_AREA, f"cluster {described.cluster_id}, {brokers} brokers, reached by {connection.where}"))
            lines += await version_lines(_AREA, client, described)
            lines += await _rights(client, connection, needs, principal_of(cluster))
            lines += await _defaults(client, connection, described, principal_of(cluster))
        except MirrorError as error:
            lines.append(failed(_AREA, error))
    return lines


def _stored_needs(config: Config, alias: str, topics: tuple[str, ...], prefix: str) -> tuple[RestoreNeeds, CheckLine]:
    """What restoring the newest moment of these topics needs, whatever there is on the target."""
    repository = open_configured_repository(config, alias, goes_on=True)
    inventory = read_inventory(repository)
    group_log = choose_group_log(inventory.coverages)
    internal = {coverage.topic for coverage in group_log.values()}
    names = {topic.topic for topic in inventory.topics} | {one.topic for one in inventory.coverages.values()}
    chosen = TopicFilter(include=topics or ("*",)).select(names - internal)
    trimmed = _trimmed(inventory.coverages)
    groups = sorted(read_groups(repository, group_log).groups) if group_log else []
    needs = RestoreNeeds(
        topics={
            f"{prefix}{name}": LOADING | {"CREATE"} | ({"DELETE"} if name in trimmed else set()) for name in chosen
        },
        groups=tuple(groups),
        fills_holes=True,
    )
    return needs, ok("repository", f"{len(needs.topics)} topics and {len(groups)} consumer groups to restore")


def _trimmed(coverages: Mapping[PartitionId, PartitionCoverage]) -> set[str]:
    """Topics with a log that did not begin at 0."""
    return {one.topic for one in coverages.values() if one.start_offset > 0}


async def _rights(
    client: MirrorClient, connection: ClusterConnection, needs: RestoreNeeds | None, principal: str
) -> list[CheckLine]:
    known = needs or RestoreNeeds(topics={}, groups=(), fills_holes=True)
    missing = await find_missing_rights(client, connection, known)
    lines = [_missing_line(one, connection, principal) for one in missing]
    concerned = {one.resource for one in missing}
    if known.topics and "topic" not in concerned:
        lines.append(ok("rights", f"all that a restore needs on {len(known.topics)} topics"))
    if known.groups and "group" not in concerned:
        lines.append(ok("rights", f"READ on {len(known.groups)} consumer groups"))
    if "cluster" not in concerned:
        lines.append(ok("rights", "holes in offsets can be filled: by markers, or by aborted transactions"))
    return lines


def _missing_line(missing: MissingRight, connection: ClusterConnection, principal: str) -> CheckLine:
    command = grant_command(
        connection.where, principal, missing.operations, resource=missing.resource, names=missing.names
    )
    message = f"{principal} lacks {text_of(missing)}"
    if missing.resource != "cluster":
        return failed("rights", message, commands=[command], exit_code=12)
    instead = grant_command(
        connection.where,
        principal,
        ["WRITE"],
        resource="transactional-id",
        names=[TRANSACTIONAL_ID_PREFIX],
        prefixed=True,
    )
    return failed(
        "rights",
        f"{message}, and WRITE on transactional ids {TRANSACTIONAL_ID_PREFIX}*: one of them, to keep offsets",
        "the first is faster by far, and no consumer sees what it fills",
        commands=[command, instead],
        exit_code=12,
    )


async def _defaults(
    client: MirrorClient, connection: ClusterConnection, described: ClusterDescription, principal: str
) -> list[CheckLine]:
    """Brokers' defaults: without them a plan takes Kafka's own, and may miss that retention deletes what it restores."""
    try:
        await Admin(connection, client).broker_configs([described.brokers[0].node_id])
    except AccessError:
        command = grant_command(connection.where, principal, ["DESCRIBE_CONFIGS"], resource="cluster", names=[])
        text = "lacks DESCRIBE_CONFIGS on the cluster: its default retention is not known, 7 days are assumed"
        return [warned("rights", f"{principal} {text}", f"not needed; to grant it: {command}")]
    return [ok("rights", "DESCRIBE_CONFIGS on the cluster: its defaults are known")]
