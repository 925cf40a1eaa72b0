"""`mirror check`, the source cluster: reachability, versions, rights, topics, retention. Changes nothing: creation is only validated."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from mirror.config import ClusterConfig, Config
from mirror.core.topic_filter import TopicFilter
from mirror.errors import AccessError, MirrorError
from mirror.kafka.admin import Admin, ConfigValue
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import ClusterDescription, TopicDescription, describe_cluster
from mirror.kafka.connection import ClusterConnection, confluent_options
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.rights import operations_of
from mirror.kafka.versions import unsupported_apis
from mirror.service.check_groups import check_groups
from mirror.service.check_lines import CheckLine, failed, grant_command, ok, skipped, warned
from mirror.service.wiring import connection_for, internal_topics

__all__ = ["check_source", "principal_of", "version_lines"]

_AREA = "source"
_TOPIC_RIGHTS = frozenset({"DESCRIBE", "READ"})
_CONFIG_RIGHT = "DESCRIBE_CONFIGS"
_OWN_RIGHTS = frozenset({"DESCRIBE", "READ", "WRITE"})
_PATIENCE_S = 15.0
_PAUSE_S = 0.5
_NAMED = 5


async def check_source(config: Config) -> tuple[list[CheckLine], str | None]:
    """All lines about the source, and its cluster id where it could be asked."""
    lines: list[CheckLine] = []
    try:
        connection = connection_for(config.source_cluster)
        client = await asyncio.wait_for(open_client(connection), _PATIENCE_S)
    except TimeoutError:
        return [failed(_AREA, f"no answer within {_PATIENCE_S:.0f} s", "check bootstrap_servers", exit_code=13)], None
    except MirrorError as error:
        return [failed(_AREA, error)], None
    async with client:
        try:
            described = await describe_cluster(client, authorized_operations=True)
        except MirrorError as error:
            return [failed(_AREA, error)], None
        brokers = len(described.brokers)
        lines.append(ok(_AREA, f"cluster {described.cluster_id}, {brokers} brokers, reached by {connection.where}"))
        lines += await version_lines(_AREA, client, described)
        rules = config.worker.topic_filter(own_topics=frozenset(internal_topics(config.worker.id).values()))
        rules = rules.among(described.topics)
        selected = [topic for name, topic in sorted(described.topics.items()) if rules.decide(name).selected]
        asker = _RightsChecker(config, connection, Admin(connection, client))
        lines += _selection(rules, described, selected)
        lines += asker.topics(selected)
        lines += await asker.group_log(client)
        lines.append(await asker.group())
        lines += await asker.own_topics(described)
        lines += await _retention(asker.admin, config, selected)
        return lines, described.cluster_id


async def version_lines(area: str, client: MirrorClient, described: ClusterDescription) -> list[CheckLine]:
    """Whether each broker answers, and speaks all requests that are needed."""
    lines, sound = [], 0
    await client.know_brokers(broker.node_id for broker in described.brokers)
    for broker in described.brokers:
        where = f"broker {broker.node_id} ({broker.host}:{broker.port})"
        try:
            lacking = await asyncio.wait_for(unsupported_apis(client, broker.node_id), _PATIENCE_S)
        except TimeoutError:
            lines.append(failed(area, f"{where} does not answer within {_PATIENCE_S:.0f} s", exit_code=13))
            continue
        except MirrorError as error:
            next_step = "its advertised.listeners must be reachable from here, not only the bootstrap address"
            lines.append(failed(area, f"{where}: {error.message}", next_step, exit_code=error.exit_code))
            continue
        if lacking:
            lines.append(failed(area, f"{where} lacks {'; '.join(lacking)}", "mirror needs Apache Kafka 3.1 or newer"))
        else:
            sound += 1
    if sound:
        lines.append(ok(area, f"{sound} brokers speak all that is needed (Fetch v13: Kafka 3.1 or newer; topic ids)"))
    return lines


def _selection(rules: TopicFilter, described: ClusterDescription, selected: list[TopicDescription]) -> list[CheckLine]:
    literals = [name for name in rules.include if not set(name) & set("*?[")]
    lines = [
        warned(
            _AREA,
            f"topic {name} is named in the rules and not visible",
            "it does not exist, or DESCRIBE on it is missing",
        )
        for name in literals
        if name not in described.topics
    ]
    leaderless = [
        f"{topic.name}-{partition.partition}"
        for topic in selected
        for partition in topic.partitions
        if partition.leader < 0
    ]
    if leaderless:
        lines.append(
            warned(_AREA, f"without a leader now: {_some(leaderless)}", "they are backed up once they have one")
        )
    lines += _other_mirrors(rules, selected)
    if not selected:
        lines.append(
            warned(_AREA, "the rules select no topic that is visible", "see [worker] topics, exclude and the rights")
        )
    else:
        partitions = sum(len(topic.partitions) for topic in selected)
        lines.append(
            ok(_AREA, f"{len(selected)} of {len(described.topics)} visible topics selected, {partitions} partitions")
        )
    return lines


def _other_mirrors(rules: TopicFilter, selected: list[TopicDescription]) -> list[CheckLine]:
    chosen = [topic.name for topic in selected if topic.name in rules.others_topics]
    mirrors = _some(sorted(set(rules.others_topics.values())))
    lines = [ok(_AREA, f"other mirrors on this cluster: {mirrors}; their own topics are left out")] if mirrors else []
    if chosen:
        message = f"own topics of another mirror are named in the rules: {_some(chosen)}"
        lines.append(warned(_AREA, message, "two mirrors that back up each other's never come to rest; take them out"))
    return lines


class _RightsChecker:
    def __init__(self, config: Config, connection: ClusterConnection, admin: Admin) -> None:
        self._config = config
        self._connection = connection
        self.admin = admin
        self._principal = principal_of(config.source_cluster)

    def _grant(self, operations: Iterable[str], resource: str, names: Iterable[str], *, prefixed: bool = False) -> str:
        return grant_command(
            self._connection.where,
            self._principal,
            operations,
            resource=resource,  # type: ignore[arg-type]
            names=names,
            prefixed=prefixed,
        )

    def topics(self, selected: list[TopicDescription]) -> list[CheckLine]:
        """Read and describe on each selected topic; describe configs is only wanted."""
        lacking: dict[frozenset[str], list[str]] = defaultdict(list)
        wanting: list[str] = []
        for topic in selected:
            may = operations_of(topic.authorized_operations)
            missing = _TOPIC_RIGHTS - may
            if missing:
                lacking[missing].append(topic.name)
            elif _CONFIG_RIGHT not in may:
                wanting.append(topic.name)
        lines = [
            failed(
                "rights",
                f"{self._principal} lacks {', '.join(sorted(missing))} on {_some(names)}",
                "grant it, or exclude the topics",
                commands=[self._grant(missing | {_CONFIG_RIGHT}, "topic", names)],
                exit_code=12,
            )
            for missing, names in lacking.items()
        ]
        if wanting:
            line = warned(
                "rights",
                f"{self._principal} lacks DESCRIBE_CONFIGS on {_some(wanting)}",
                "without it a restore does not know their settings, and status not their retention: "
                + self._grant([_CONFIG_RIGHT], "topic", wanting),
            )
            lines.append(line)
        if selected and not lacking:
            lines.append(ok("rights", f"READ and DESCRIBE on all {len(selected)} selected topics"))
        return lines

    async def group_log(self, client: MirrorClient) -> list[CheckLine]:
        """What the capture of consumer groups needs."""
        return await check_groups(
            client,
            self.admin,
            self._config.worker.groups,
            principal=self._principal,
            grant=lambda operations, resource, name: self._grant(operations, resource, [name]),
        )

    async def group(self) -> CheckLine:
        """Read on the consumer group."""
        group = self._config.worker.id
        command = self._grant(["READ"], "group", [group])
        try:
            may = await self._group_operations(group)
        except AccessError:
            may = frozenset()
        except MirrorError as error:
            if error.transient:
                return skipped("rights", f"READ on group {group}: not proven, {error.message}", "run it again")
            return failed("rights", error)
        if "READ" not in may:
            return failed("rights", f"{self._principal} lacks READ on group {group}", commands=[command], exit_code=12)
        return ok("rights", f"READ on consumer group {group}")

    async def _group_operations(self, group: str) -> frozenset[str]:
        """With patience: on a young cluster the first question about any group makes its coordinator."""
        give_up_at = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            try:
                return await self.admin.group_operations(group)
            except MirrorError as error:
                if not error.transient or asyncio.get_running_loop().time() > give_up_at:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def own_topics(self, described: ClusterDescription) -> list[CheckLine]:
        """Create, or read and write, on the mirror's own topics."""
        lines = []
        absent = []
        for name in internal_topics(self._config.worker.id).values():
            topic = described.topics.get(name)
            if topic is None:
                absent.append(name)
                continue
            missing = _OWN_RIGHTS - operations_of(topic.authorized_operations)
            if missing:
                command = self._grant(missing, "topic", [name])
                message = f"{self._principal} lacks {', '.join(sorted(missing))} on the mirror's own topic {name}"
                lines.append(failed("rights", message, commands=[command], exit_code=12))
            else:
                lines.append(ok("rights", f"READ and WRITE on the mirror's own topic {name}"))
        if absent:
            lines += await self._may_create(absent, len(described.brokers))
        return lines

    async def _may_create(self, names: list[str], broker_count: int) -> list[CheckLine]:
        replication = self._config.worker.internal_topic_replication or min(3, broker_count)
        lines = []
        for name, error in (await asyncio.to_thread(self._validate_creation, names, replication)).items():
            if error is None:
                lines.append(
                    ok("rights", f"may create its own topic {name} (read and write on it: not proven until it exists)")
                )
            elif isinstance(error, AccessError):
                prefix = f"{self._config.worker.id}-"
                command = self._grant([*_OWN_RIGHTS, "CREATE"], "topic", [prefix], prefixed=True)
                lines.append(
                    failed(
                        "rights",
                        f"{self._principal} may not create its own topic {name}",
                        commands=[command],
                        exit_code=12,
                    )
                )
            else:
                lines.append(
                    failed("rights", f"creating the mirror's own topic {name}: {error.message}", error.hint or "")
                )
        return lines

    def _validate_creation(self, names: list[str], replication: int) -> dict[str, MirrorError | None]:
        found: dict[str, MirrorError | None] = {}
        try:
            admin = AdminClient(confluent_options(self._connection))
            new = [NewTopic(name, num_partitions=1, replication_factor=replication) for name in names]
            asked = admin.create_topics(new, validate_only=True, request_timeout=_PATIENCE_S)
        except KafkaException as error:
            return {name: kafka_error_to_ours(error, f"creating topic {name}") for name in names}
        for name, future in asked.items():
            try:
                future.result(_PATIENCE_S)
                found[name] = None
            except (KafkaException, TimeoutError) as error:
                found[name] = kafka_error_to_ours(error, f"creating topic {name}")
        return found


async def _retention(admin: Admin, config: Config, selected: list[TopicDescription]) -> list[CheckLine]:
    if not selected:
        return []
    try:
        configs = await asyncio.wait_for(admin.topic_configs(topic.name for topic in selected), _PATIENCE_S)
    except (MirrorError, TimeoutError) as error:
        message = error.message if isinstance(error, MirrorError) else "no answer"
        return [skipped("retention", f"retention could not be read: {message}")]
    least_ms = config.objectives.retention_headroom_ms
    short = [name for name, found in sorted(configs.items()) if 0 <= _retention_ms(found) < least_ms]
    hours = least_ms / 3_600_000
    if short:
        return [
            warned(
                "retention",
                f"retention.ms is below {hours:g} h on {_some(short)}: what is not stored by then is lost",
                "raise retention.ms, or accept that an outage of the backup longer than that loses data",
            )
        ]
    return [ok("retention", f"every selected topic keeps its data for {hours:g} h or longer")]


def _retention_ms(configs: dict[str, ConfigValue]) -> int:
    policy = configs.get("cleanup.policy")
    value = configs.get("retention.ms")
    if value is None or value.value is None or (policy is not None and "delete" not in (policy.value or "delete")):
        return -1
    return int(value.value)


def principal_of(cluster: ClusterConfig) -> str:
    """How `kafka-acls` names us on that cluster, as far as the configuration tells."""
    if cluster.sasl is not None and cluster.sasl.username:
        return f"User:{cluster.sasl.username}"
    if cluster.security_protocol == "PLAINTEXT":
        return "User:ANONYMOUS"
    return "User:<principal>"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
