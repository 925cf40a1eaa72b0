"""Source partitions are balanced one by one over the workers, and stay where they are; internal topics are Faust's own business.

Faust co-partitions topics that one agent reads: 40 topics of one partition would all land on one worker.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.placement import place

__all__ = ["MirrorAssignor"]


class MirrorAssignor(PartitionAssignor):
    """Faust's assignor for the mirror's own topics, :func:`mirror.core.placement.place` for the sources."""

    def _perform_assignment(self, cluster: Any, member_metadata: Mapping[str, Any]) -> dict[str, Any]:
        is_source = self.app.is_source
        metadata = {member: self._get_client_metadata(given) for member, given in member_metadata.items()}
        own = {
            member: self._without_sources(given, metadata[member], is_source)
            for member, given in member_metadata.items()
        }
        assigned = super()._perform_assignment(cluster, own)
        subscribed = {
            member: {topic for topic in given.subscription if is_source(topic)}
            for member, given in member_metadata.items()
        }
        held = {
            member: {
                (topic, partition)
                for topic, partitions in given.assignment.actives.items()
                if is_source(topic)
                for partition in partitions
            }
            for member, given in metadata.items()
        }
        partitions = {
            topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in set().union(*subscribed.values())
        }
        # The group log by itself: its partitions are many and nearly idle, and must not stand in for users' ones.
        log = {topic: partitions.pop(topic) for topic in (GROUP_LOG_TOPIC,) if topic in partitions}
        placed, placed_log = place(partitions, subscribed, held), place(log, subscribed, held)
        return self._merge(assigned, {member: placed[member] | placed_log[member] for member in placed})

    def _global_table_standby_assignments(self, assignments: Any, partitions_by_topic: Mapping[str, int]) -> Any:
        # A changelog that somebody deleted is in no metadata until it is created anew; Faust's KeyError would end the worker.
        changelogs = dict.fromkeys(self._table_manager.changelog_topics, 1)
        return super()._global_table_standby_assignments(assignments, {**changelogs, **partitions_by_topic})

    def _without_sources(self, given: Any, metadata: Any, is_source: Any) -> Any:
        def own(assignment: Mapping[str, list[int]]) -> dict[str, list[int]]:
            return {topic: list(partitions) for topic, partitions in assignment.items() if not is_source(topic)}

        stripped = ClientMetadata(
            assignment=ClientAssignment(
                actives=own(metadata.assignment.actives), standbys=own(metadata.assignment.standbys)
            ),
            url=metadata.url,
            changelog_distribution={},
            external_topic_distribution={},
        )
        topics = [topic for topic in given.subscription if not is_source(topic)]
        return ConsumerProtocolMemberMetadata(given.version, topics, stripped.dumps())

    def _merge(self, assigned: Mapping[str, Any], given: Mapping[str, set[tuple[str, int]]]) -> dict[str, Any]:
        out = {}
        for member, answer in assigned.items():
            metadata = ClientMetadata.loads(self._decompress(answer.user_data))
            actives: dict[str, list[int]] = defaultdict(list)
            for topic, partition in sorted(given[member]):
                actives[topic].append(partition)
            metadata.assignment.actives.update(actives)
            # The distribution of sources is left out: nobody asks who reads them, and with thousands of partitions it is large.
            whole = ClientMetadata(
                assignment=metadata.assignment,
                url=metadata.url,
                changelog_distribution=metadata.changelog_distribution,
                external_topic_distribution=metadata.external_topic_distribution,
                topic_groups=metadata.topic_groups,
            )
            out[member] = ConsumerProtocolMemberAssignment(
                self.version,
                sorted(metadata.assignment.kafka_protocol_assignment(self._table_manager)),
                self._compress(whole.dumps()),
            )
        return out
