"""A restore from start to end: look, plan, compare, execute. Reads the repository and the target, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass

from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.keys import ROLLUP_PREFIX
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.restore_plan import RestorePlan, plan_restore
from mirror.core.restore_selection import RestoreSelection, choose_incarnations
from mirror.core.segment.index import TopicObject
from mirror.errors import DamageError, NoMatchError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.connection import ClusterConnection
from mirror.service.gone import describe_gone, find_gone
from mirror.service.restore.execute import RestoreObserver, RestoreResult, execute
from mirror.service.restore.rate import RateLimit
from mirror.service.restore.resume import PartitionRest, compare_with_target
from mirror.service.restore.target import examine_target
from mirror.storage.repository import Repository

__all__ = ["Inventory", "RestoreSession", "read_inventory"]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a repository holds, as a restore needs it; ``unreadable`` says of each object that cannot be read what is wrong."""

    coverages: dict[PartitionId, PartitionCoverage]
    topics: list[TopicObject]
    unreadable: list[str]

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

    objects = repository.load_indexes(on_progress=on_progress, on_damage=note, list_all=True)
    coverages = build_coverage((entry.key, entry.index) for entry in objects)
    unreadable += [describe_gone(gone) for gone in find_gone(repository, objects)]
    return Inventory(coverages, repository.list_topics(on_damage=note), unreadable)


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

    async def __aenter__(self) -> "RestoreSession":
        self._client = await open_client(self._connection)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    async def plan(
        self, selection: RestoreSelection, *, now_ms: int
    ) -> tuple[RestorePlan, dict[TopicPartition, PartitionRest]]:
        """The plan, after comparing what is on the target already; changes nothing.

        Raises:
            NoMatchError, UsageError, RefusedError: see :func:`mirror.core.restore_plan.plan_restore`.
            UnreachableError, AccessError, ClusterError, DamageError.
        """
        assert self._client is not None
        inventory = self._inventory
        inventory.require_readable(allow_missing=selection.allow_missing)
        chosen = choose_incarnations(selection, inventory.coverages, inventory.topics)
        if not chosen:
            raise NoMatchError(
                "no topic of the repository is selected", hint="`mirror inspect` lists what the repository holds"
            )
        target = await examine_target(
            self._client,
            Admin(self._connection, self._client),
            [selection.target_name(name) for name in chosen],
            alias=self._alias,
            bootstrap=self._connection.where,
        )
        plan = plan_restore(
            selection,
            coverages=inventory.coverages,
            topics=inventory.topics,
            target=target,
            source_cluster_id=self._repository.identity.cluster_id,
            now_ms=now_ms,
        )
        return await compare_with_target(self._repository, self._client, plan, target)

    async def execute(
        self,
        plan: RestorePlan,
        rests: dict[TopicPartition, PartitionRest],
        *,
        observer: RestoreObserver,
        bytes_per_second: int | None = None,
    ) -> RestoreResult:
        """Run the plan; see :func:`mirror.service.restore.execute.execute`."""
        assert self._client is not None
        return await execute(
            plan,
            rests,
            repository=self._repository,
            client=self._client,
            admin=Admin(self._connection, self._client),
            observer=observer,
            rate=RateLimit(bytes_per_second) if bytes_per_second else None,
        )
