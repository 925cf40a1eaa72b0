"""Runs that turn out to be unreadable while a restore is planned, loaded or proved: their offsets are missing from then on.

Indexes say what is stored; whether the bytes are still what was written shows when they are read. With ``--allow-missing`` whatever was at
work is done again without such runs: the plan then says what is missing, and everything after it goes by the plan. Bounds of partitions
stay as they are, so that it is the same restore; where a copy of the offsets is stored, that one is read.

Nothing is remembered between runs: what a run left out shows on the target as a hole, and `require_bodies` finds the reason again.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import PartitionId
from mirror.core.restore_plan import RestorePlan, UnreadableRange
from mirror.core.table_coverage import cover_without
from mirror.errors import UnreadableRun, UnreadableRunsError
from mirror.service.read_planning import ReadTask, plan_windows
from mirror.service.reading import load_task
from mirror.storage.repository import Repository

__all__ = ["ReadableCoverage", "allowing_hint", "require_bodies"]

_THREADS: Final = 4
_AHEAD: Final = 8


class ReadableCoverage:
    """The coverage of every partition, without what could not be read so far.

    Args:
        coverages: as the indexes say.
    """

    def __init__(self, coverages: Mapping[PartitionId, PartitionCoverage]) -> None:
        self._whole = coverages
        self._lost: dict[PartitionId, set[UnreadableRun]] = {}
        self.by_partition: dict[PartitionId, PartitionCoverage] = dict(coverages)

    def leave_out(self, runs: Iterable[UnreadableRun]) -> bool:
        """Leave these out from now on; whether one of them is new."""
        changed: set[PartitionId] = set()
        for run in runs:
            pid = PartitionId(run.topic_id, run.partition)
            known = self._lost.setdefault(pid, set())
            if run not in known and pid in self._whole:
                known.add(run)
                changed.add(pid)
        for pid in changed:
            lost = {(run.object_key, run.start_offset) for run in self._lost[pid]}
            self.by_partition[pid] = cover_without(self._whole[pid], lost)
        return bool(changed)

    def noted(self, plan: RestorePlan) -> RestorePlan:
        """The plan with what of its topics cannot be read."""
        return replace(plan, unreadable=tuple(self._missing(plan)))

    def _missing(self, plan: RestorePlan) -> list[UnreadableRange]:
        planned = {
            PartitionId(topic.topic_id, partition.partition): partition.coverage
            for topic in plan.topics
            for partition in topic.partitions
            if partition.coverage is not None
        }
        return [
            UnreadableRange(
                topic=run.topic,
                partition=run.partition,
                start_offset=first,
                next_offset=following,
                object_key=run.object_key,
            )
            for pid, coverage in planned.items()
            for run in sorted(self._lost.get(pid, ()), key=lambda one: one.start_offset)
            for lost in coverage.missing
            for first, following in (
                (max(lost.start_offset, run.start_offset), min(lost.next_offset, run.next_offset)),
            )
            if first < following
        ]


def allowing_hint(error: UnreadableRunsError) -> str:
    """The next step of a restore that met it, and what that loses."""
    return (
        f"the same command with --allow-missing restores all but {error.lost}; `mirror verify` lists every damaged range; a sound "
        "copy of the object in its place mends all"
    )


def require_bodies(repository: Repository, coverages: Sequence[PartitionCoverage]) -> None:
    """Read all runs of these partitions and check that they are what was written.

    Raises:
        UnreadableRunsError: some are not; has all of them.
        UnreachableError, AccessError, StoreError: as the store says.
    """
    found: list[UnreadableRun] = []
    pending: deque[Future[tuple[UnreadableRun, ...]]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="checking") as pool:
        for task in plan_windows(coverages):
            pending.append(pool.submit(_unreadable, repository, task))
            if len(pending) > _AHEAD:
                found += pending.popleft().result()
        for future in pending:
            found += future.result()
    if found:
        keys = sorted({run.object_key for run in found})
        raise UnreadableRunsError(
            f"{len(found)} runs of {len(keys)} objects cannot be read, {keys[0]} first", runs=found
        )


def _unreadable(repository: Repository, task: ReadTask) -> tuple[UnreadableRun, ...]:
    try:
        load_task(repository, task)
    except UnreadableRunsError as error:
        return error.runs
    return ()
