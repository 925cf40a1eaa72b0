"""A restore from start to end: look, plan, compare, execute. Reads the repository and the target, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from mirror.core.coverage import PartitionCoverage
from mirror.core.keys import ROLLUP_PREFIX, SnapshotKey
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.recovery_point import OffsetMode, PointKind
from mirror.core.restore_plan import RestorePlan, TargetCluster, TopicState
from mirror.core.restore_planning import plan_restore
from mirror.core.restore_rights import MissingRight, needs_of
from mirror.core.restore_scope import RestoreScope
from mirror.core.restore_selection import RestoreSelection, choose_incarnations
from mirror.core.seal_times import SealTimes
from mirror.core.segment.index import TopicObject
from mirror.core.snapshot import shown_name
from mirror.core.table_coverage import cover_table
from mirror.core.topic_filter import TopicFilter
from mirror.errors import DamageError, NoMatchError, PartialError, UnreadableRunsError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.marker_filler import may_write_markers
from mirror.service.gone import describe_gone, find_gone_in_table
from mirror.service.restore.boundaries import Boundary, find_boundaries
from mirror.service.restore.cutting import find_cuts, only_partitions
from mirror.service.restore.equality import PartitionProof
from mirror.service.restore.execute import RestoreObserver, RestoreResult, execute
from mirror.service.restore.fillers import choose_filler
from mirror.service.restore.groups import OnBefore, add_groups, put_groups, refuse_active
from mirror.service.restore.proof import RestoreProof, prove_restore
from mirror.service.restore.rate import RateLimit
from mirror.service.restore.rest import PartitionRest, rest_of
from mirror.service.restore.resume import compare_with_target
from mirror.service.restore.rights import find_missing_rights, require_rights
from mirror.service.restore.samples import SampleReader
from mirror.service.restore.settling import settle_transactions
from mirror.service.restore.state import OnState, add_state, put_state, require_change_rights
from mirror.service.restore.target import examine_target
from mirror.service.restore.target_creation import refuse_uncreatable
from mirror.service.restore.target_users import describe_users
from mirror.service.restore.unreadable import ReadableCoverage, allowing_hint, require_bodies
from mirror.service.restore.writers import choose_writers
from mirror.service.snapshots import SnapshotPoint, snapshot_point
from mirror.storage.repository import Repository
from mirror.storage.table_loading import load_table

__all__ = ["Inventory", "RestoreSession", "read_inventory"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a repository holds, as a restore needs it; ``unreadable`` says of each object that cannot be read what is wrong.

    ``sealed_at_ms`` is by object. ``unlisted_objects``, of finished days, were not looked for one by one.
    """

    coverages: dict[PartitionId, PartitionCoverage]
    topics: list[TopicObject]
    unreadable: list[str]
    sealed_at_ms: SealTimes
    unlisted_objects: int = 0

    def require_readable(self, *, allow_missing: bool) -> None:
        """What an unreadable object held is not known, not even whether it was the newest of a partition: a person decides.

        Raises:
            DamageError: there is one, and nobody allowed it.
        """
        if self.unreadable and not allow_missing:
            listed = "\n  ".join(self.unreadable[:10])
            raise DamageError(
                f"{len(self.unreadable)} objects cannot be read or are gone, so nobody knows what is missing:\n  {listed}",
                hint="`mirror verify` says more; --allow-missing restores all that can be read, without what they held",
            )


def read_inventory(repository: Repository, *, on_progress: Callable[[int], None] | None = None) -> Inventory:
    """Coverage and topic captures of a repository.

    Args:
        repository: opened.
        on_progress: told how many objects are known.

    Raises:
        UnreachableError, AccessError, StoreError.
    """
    unreadable: list[str] = []

    def note(key: str, error: Exception) -> None:
        if not key.startswith(ROLLUP_PREFIX):  # a cache: the footers were read instead
            unreadable.append(str(error) if key in str(error) else f"{key}: {error}")

    loaded = load_table(repository, on_progress=on_progress, on_damage=note)
    unreadable += [describe_gone(gone) for gone in find_gone_in_table(repository, loaded.table)]
    topics = repository.list_topics(on_damage=note)
    return Inventory(cover_table(loaded.table), topics, unreadable, SealTimes(loaded.table), loaded.unlisted_objects)


class RestoreSession:
    """A connection to the target, and what is done over it. An async context manager.

    Args:
        repository: where from.
        inventory: what it holds.
        connection: to the target.
        alias: of the target, for messages.
    """

    def __init__(
        self, repository: Repository, inventory: Inventory, connection: ClusterConnection, *, alias: str
    ) -> None:
        self._repository = repository
        self._inventory = inventory
        self._connection = connection
        self._alias = alias
        self._client: MirrorClient | None = None
        self._target: TargetCluster | None = None
        self._readable = ReadableCoverage(inventory.coverages)

    async def __aenter__(self) -> "RestoreSession":
        self._client = await open_client(self._connection)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def coverages(self) -> Mapping[PartitionId, PartitionCoverage]:
        """What the repository holds, without what could not be read so far."""
        return self._readable.by_partition

    async def reading(self, selection: RestoreSelection, step: Callable[[], Awaitable[_T]]) -> _T:
        """Take a step; where it meets what cannot be read and that is allowed, again without that.

        Raises:
            UnreadableRunsError: it is not allowed.
            Exception: what the step raises.
        """
        while True:
            try:
                return await step()
            except UnreadableRunsError as error:
                if not selection.allow_missing:
                    error.hint = allowing_hint(error)
                    raise
                if not await asyncio.to_thread(self.leave_out, error):
                    raise

    def leave_out(self, error: UnreadableRunsError) -> bool:
        """Go on without what cannot be read; whether anything of it is new. What was planned before must be planned again."""
        return self._readable.leave_out(error.runs)

    async def check_bodies(self, plan: RestorePlan, rests: Mapping[TopicPartition, PartitionRest]) -> None:
        """Read all that is left to load of a plan.

        Raises:
            UnreadableRunsError: names everything of it that cannot be read.
        """
        left = [
            replace(partition.coverage, runs=rest.pieces)
            for topic in plan.topics
            for partition in topic.partitions
            if partition.coverage is not None
            for rest in (rests.get(TopicPartition(topic.target_topic, partition.partition)) or rest_of(partition),)
        ]
        await asyncio.to_thread(require_bodies, self._repository, left)

    async def plan(
        self, selection: RestoreSelection, *, now_ms: int
    ) -> tuple[RestorePlan, dict[TopicPartition, PartitionRest]]:
        """The plan, after comparing what is on the target already; changes nothing.

        Raises:
            NoMatchError, UsageError, RefusedError: see :func:`mirror.core.restore_planning.plan_restore`.
            UnreachableError, AccessError, ClusterError, DamageError.
        """
        return await self.reading(selection, lambda: self._plan(selection, now_ms))

    async def _plan(
        self, selection: RestoreSelection, now_ms: int
    ) -> tuple[RestorePlan, dict[TopicPartition, PartitionRest]]:
        assert self._client is not None
        plan, target = await self._draft(selection, now_ms=now_ms)
        admin = Admin(self._connection, self._client)
        await require_change_rights(admin, plan)
        await refuse_active(self._client, admin, plan)
        plan, rests = await compare_with_target(self._repository, self._client, plan, target, self.coverages)
        await refuse_uncreatable(admin, plan)
        in_use = await describe_users(self._client, admin, plan, now_ms=now_ms)
        return replace(plan, in_use=in_use), rests

    async def missing_rights(self, plan: RestorePlan) -> list[MissingRight]:
        """What the target does not let us do of the plan; asks without changing anything."""
        assert self._client is not None
        return await find_missing_rights(self._client, self._connection, needs_of(plan))

    async def boundaries(self, plan: RestorePlan, *, most: int) -> dict[TopicPartition, Boundary]:
        """The records at the edge of the plan, of its first partitions; see `boundaries.py`."""
        return await asyncio.to_thread(find_boundaries, self._repository, plan, self.coverages, most=most)

    async def prove(
        self, selection: RestoreSelection, *, now_ms: int, on_progress: Callable[[str, int], None]
    ) -> tuple[RestorePlan, RestoreProof]:
        """Compare everything that a restore of this would bring with what is on the target; changes nothing.

        Raises:
            As :meth:`plan`.
        """
        client = self._client
        assert client is not None
        proved: dict[TopicPartition, PartitionProof] = {}

        async def prove() -> tuple[RestorePlan, RestoreProof]:
            plan, _ = await self._draft(selection, now_ms=now_ms)
            admin = Admin(self._connection, client)
            proof = await prove_restore(self._repository, client, admin, plan, on_progress=on_progress, proved=proved)
            return plan, proof

        return await self.reading(selection, prove)

    async def _draft(self, selection: RestoreSelection, *, now_ms: int) -> tuple[RestorePlan, TargetCluster]:
        """The plan by what the repository holds and which topics the target has."""
        assert self._client is not None
        snapshot = None
        if selection.point.kind is PointKind.SNAPSHOT:
            snapshot = await asyncio.to_thread(snapshot_point, self._repository, selection.point.snapshot)
            selection = _resolved(selection, snapshot)
        inventory = self._inventory
        inventory.require_readable(allow_missing=selection.allow_missing)
        chosen = choose_incarnations(selection, inventory.coverages, inventory.topics)
        samples = SampleReader(self._repository)
        cuts = await asyncio.to_thread(
            find_cuts,
            samples,
            selection,
            chosen,
            inventory.coverages,
            inventory.topics,
            inventory.sealed_at_ms,
            now_ms=now_ms,
        )
        if selection.partitions:
            cuts = only_partitions(cuts, selection.partitions)
        settled = await asyncio.to_thread(
            settle_transactions,
            self._repository,
            samples,
            selection.point,
            cuts.by_partition,
            self.coverages,
            inventory.sealed_at_ms,
        )
        topics = inventory.topics
        if selection.point.kind in (PointKind.AT, PointKind.SNAPSHOT):
            topics = await asyncio.to_thread(
                self._repository.list_topics, as_of_ms=selection.point.time_ms, read_before=inventory.topics
            )
        self._target = target = await examine_target(
            self._client,
            Admin(self._connection, self._client),
            [selection.target_name(name) for name in cuts.chosen],
            alias=self._alias,
            bootstrap=self._connection.where,
        )
        if selection.offsets is OffsetMode.EXACT:
            self._target = target = replace(target, takes_markers=await may_write_markers(self._client))
        plan = plan_restore(
            selection,
            chosen=cuts.chosen,
            cuts=settled.by_partition,
            coverages=self.coverages,
            topics=topics,
            target=target,
            source_cluster_id=self._repository.identity.cluster_id,
            now_ms=now_ms,
            left_out=cuts.left_out,
        )
        plan = replace(plan, transaction_doubts=settled.doubts)
        plan = await asyncio.to_thread(
            add_groups,
            self._repository,
            selection,
            plan,
            self.coverages,
            inventory.sealed_at_ms,
            snapshot_groups=None if snapshot is None else snapshot.groups,
            verdicts=settled.verdicts,
            now_ms=now_ms,
        )
        plan = await add_state(self._repository, self._client, Admin(self._connection, self._client), selection, plan)
        if selection.scope is RestoreScope.STATE:  # groups were needed for their ACLs only
            plan = replace(plan, groups=(), group_notes=())
        return self._readable.noted(plan), target

    async def execute(
        self,
        plan: RestorePlan,
        rests: dict[TopicPartition, PartitionRest],
        *,
        observer: RestoreObserver,
        bytes_per_second: int | None = None,
        on_groups: OnBefore | None = None,
        on_state: OnState | None = None,
        complete_before: Collection[str] | None = None,
    ) -> RestoreResult:
        """Run the plan, if all rights that it needs are there; see :func:`mirror.service.restore.execute.execute`.

        ``on_groups`` is as in `put_groups`, ``on_state`` as in `put_state`, ``complete_before`` as ``complete`` in `put_groups`.
        """
        client, target = self._client, self._target
        assert client is not None
        assert target is not None
        await require_rights(client, self._connection, plan)
        has_holes = plan.offsets is OffsetMode.EXACT and plan.scope is not RestoreScope.STATE
        filler = await choose_filler(client, plan, _begun(plan)) if has_holes else None
        try:
            if filler is not None:
                await filler.start()
            if rests:  # what was on its way has arrived now, or never will
                plan, rests = await compare_with_target(self._repository, client, plan, target, self.coverages, rests)
            result = await execute(
                plan,
                rests,
                repository=self._repository,
                client=client,
                admin=Admin(self._connection, client),
                observer=observer,
                rate=RateLimit(bytes_per_second) if bytes_per_second else None,
                filler=filler,
                writers=await choose_writers(client, self._repository.identity.repository_id, plan, rests),
            )
            groups = []
            if plan.groups:
                groups = await put_groups(self._repository, client, plan, on_before=on_groups, complete=complete_before)
        finally:
            if filler is not None:
                await filler.close()
        failed = [f"{group.target_group}: {group.problem}" for group in groups if group.problem]
        if failed:
            raise PartialError(
                "all records are restored, but consumer groups are not where they stood:\n  " + "\n  ".join(failed),
                hint="the same command puts them there; --no-groups leaves them",
            )
        state = None if plan.state is None else await put_state(client, plan.state, on_before=on_state)
        return replace(result, groups=tuple(groups), state=state)


def _resolved(selection: RestoreSelection, found: SnapshotPoint) -> RestoreSelection:
    """The selection with the full name, the topics, incarnations and offsets of its snapshot."""
    taken_at_ms = found.snapshot.taken_at_ms
    name = shown_name(SnapshotKey(taken_at_ms, found.snapshot.name))
    names = selection.topics.select(found.topic_ids)
    if not names:
        raise NoMatchError(
            f"snapshot {selection.point.snapshot} has none of the selected topics",
            hint=f"`mirror snapshot show {selection.point.snapshot}` lists what it has",
        )
    return replace(
        selection,
        topics=TopicFilter(include=tuple(names)),
        incarnations={**{name: found.topic_ids[name] for name in names}, **selection.incarnations},
        point=replace(selection.point, snapshot=name, offsets=found.offsets, time_ms=taken_at_ms),
    )


def _begun(plan: RestorePlan) -> list[TopicPartition]:
    """Partitions in which an earlier run may have left something."""
    return [
        TopicPartition(topic.target_topic, partition.partition)
        for topic in plan.topics
        if topic.state in (TopicState.UNFINISHED, TopicState.BEGINNING)
        for partition in topic.partitions
    ]
