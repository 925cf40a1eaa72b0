"""Cuts that split no transaction: moves what `cutting` found back, all partitions together; see `mirror.core.whole_transactions`.

Partitions are cut where the backup last looked, each by itself; and a last stable offset may lie inside a transaction that has ended
behind one that is still open. Read are the runs at the cuts of partitions that hold markers, and earlier ones only where a transaction
reaches back into them. The same stored data give the same cuts, whatever is stored later.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from mirror.core.coverage import PartitionCoverage
from mirror.core.cuts import Observation, PartitionCut, observe
from mirror.core.moments import format_moment
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.recovery_point import PointKind, RecoveryPoint
from mirror.core.run_pieces import RunPieces
from mirror.core.run_table import RunFlag
from mirror.core.seal_times import SealTimes
from mirror.core.whole_transactions import (
    MARKER_SPREAD_MS,
    Settled,
    Transaction,
    TransactionVerdicts,
    group_pieces,
    is_outside,
    settle_cuts,
)
from mirror.service.restore.samples import SampleReader, writer_of
from mirror.service.restore.transaction_window import TransactionWindow
from mirror.storage.repository import Repository

__all__ = ["ANSWER_SLACK_MS", "LOOK_BACK_MS", "Settlement", "settle_transactions"]

ANSWER_SLACK_MS: Final = 2000
"""A leader's answer may arrive so long after it was written: one that came right after the moment may say what was before it."""

LOOK_BACK_MS: Final = 60_000
"""No cut is moved back beyond what was written so long before the moment; transactions time out after a minute, by default."""

_READERS: Final = 8
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Settlement:
    """What :func:`settle_transactions` found.

    Attributes:
        by_partition: the cuts, those that had to moved back.
        verdicts: which transactions are within them; None where no transaction was looked at.
        doubts: where transactions may be split all the same, as text.
        read_bytes: of runs that were opened for it.
    """

    by_partition: dict[PartitionId, PartitionCut]
    verdicts: TransactionVerdicts | None = None
    doubts: tuple[str, ...] = ()
    read_bytes: int = 0


def settle_transactions(
    repository: Repository,
    samples: SampleReader,
    point: RecoveryPoint,
    cuts: Mapping[PartitionId, PartitionCut],
    coverages: Mapping[PartitionId, PartitionCoverage],
    sealed_at_ms: SealTimes,
) -> Settlement:
    """Move the cuts of the selected partitions back until they split no transaction; only of ``--at`` and ``--snapshot``.

    Args:
        repository: to read runs from.
        samples: to read watermark samples with.
        point: what was named, resolved.
        cuts: of all partitions that are restored.
        coverages: of these, at least.
        sealed_at_ms: of every object.

    Raises:
        DamageError: a run or footer at a cut cannot be read.
        UnreachableError, AccessError, StoreError: as the store says.
    """
    at_ms = point.time_ms
    marked = [pid for pid in cuts if _has_markers(coverages[pid])]
    if point.kind not in (PointKind.AT, PointKind.SNAPSHOT) or at_ms is None or not marked:
        return Settlement(dict(cuts))

    def look(pid: PartitionId) -> Observation:
        runs = coverages[pid].runs
        later = observe(runs, sealed_at_ms, at_ms + ANSWER_SLACK_MS, samples.of)
        return replace(observe(runs, sealed_at_ms, at_ms, samples.of), after=later.after)

    with ThreadPoolExecutor(_READERS, thread_name_prefix="settling") as pool:
        seen = dict(zip(marked, pool.map(look, marked), strict=True))
        windows = {
            pid: TransactionWindow(
                repository,
                samples,
                coverages[pid],
                seen[pid],
                next_offset=cuts[pid].next_offset,
                at_ms=at_ms,
                sealed_at_ms=sealed_at_ms,
            )
            for pid in marked
        }
        search = _Search(windows, {pid: cuts[pid].next_offset for pid in marked}, at_ms, pool)
        settled, transactions = search.run()
        doubts = search.doubts()
        if transactions:
            others = [pid for pid in cuts if pid not in seen]
            seen |= zip(others, pool.map(look, others), strict=True)
            ends = _Ends(coverages, seen, sealed_at_ms.newest_by_writer(), at_ms)
            doubts += ends.doubts(settled, transactions, cuts)
    return Settlement(
        by_partition={pid: _moved(pid, cut, settled, windows) for pid, cut in cuts.items()},
        verdicts=TransactionVerdicts(transactions, settled.outside),
        doubts=tuple(doubts),
        read_bytes=sum(window.read_bytes for window in windows.values()),
    )


def _has_markers(coverage: PartitionCoverage) -> bool:
    return bool((RunPieces.of(coverage.runs).column("flags") & RunFlag.HAS_MARKERS).any())


def _moved(
    pid: PartitionId, cut: PartitionCut, settled: Settled, windows: Mapping[PartitionId, TransactionWindow]
) -> PartitionCut:
    found = settled.because.get(pid)
    if found is None:
        return cut
    piece, elsewhere = found
    next_offset = max(cut.start_offset, settled.next_offsets[pid])
    return replace(
        cut,
        next_offset=next_offset,
        wanted_next_offset=cut.wanted_next_offset if cut.is_short else next_offset,
        moved_from_offset=cut.next_offset,
        moved_because=f"the transaction of producer {piece.producer_id} is not whole in {windows[elsewhere].name}",
    )


class _Search:
    """Reads what the cuts depend on, a run more whenever it is needed; gives up on partitions that would need too much."""

    def __init__(
        self,
        windows: Mapping[PartitionId, TransactionWindow],
        next_offsets: Mapping[PartitionId, int],
        at_ms: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._windows = dict(windows)
        self._next_offsets = dict(next_offsets)
        self._floor_ms = at_ms - LOOK_BACK_MS
        self._pool = pool
        self._given_up: list[TopicPartition] = []

    def run(self) -> tuple[Settled, list[Transaction]]:
        """The cuts of partitions that were not given up, and the transactions that were looked at."""
        while True:
            windows = list(self._windows.values())
            loaded = list(self._pool.map(TransactionWindow.load, windows))
            transactions = group_pieces(piece for pieces in loaded for piece in pieces)
            settled = settle_cuts(transactions, self._next_offsets)
            hopeless = [w for w in windows if self._is_hopeless(w, self._next_offsets)]
            hopeless = hopeless or [w for w in windows if self._is_hopeless(w, settled.next_offsets)]
            short = [window for window in windows if self._is_short(window, settled)]
            if not hopeless and not short:
                return settled, transactions
            for window in hopeless:
                self._give_up(window)
            for window in short if not hopeless else ():
                window.grow()

    def doubts(self) -> list[str]:
        """About the partitions that were given up."""
        if not self._given_up:
            return []
        return [
            f"{_listed(self._given_up)}: transactions overlap there for more than {LOOK_BACK_MS // 1000} s, or one stayed open: what they "
            "wrote there and elsewhere may come back in part"
        ]

    def _give_up(self, window: TransactionWindow) -> None:
        self._given_up.append(window.name)
        del self._windows[window.partition_id]
        del self._next_offsets[window.partition_id]

    def _is_hopeless(self, window: TransactionWindow, next_offsets: Mapping[PartitionId, int]) -> bool:
        return window.has_too_much or any(
            is_outside(piece, next_offsets) and piece.marker_ms < self._floor_ms for piece in window.load()
        )

    def _is_short(self, window: TransactionWindow, settled: Settled) -> bool:
        """Whether runs before the window may hold something of a transaction that is left out."""
        if any(is_outside(p, settled.next_offsets) and window.may_begin_before(p) for p in window.load()):
            return True
        oldest_ms = min((piece.marker_ms for one in settled.outside for piece in one), default=None)
        return oldest_ms is not None and not window.reaches_back_to(oldest_ms - MARKER_SPREAD_MS)


@dataclass(frozen=True, slots=True)
class _Ends:
    """Whether partitions are stored as far as their logs stood at the moment: else a transaction may have written what nobody knows of."""

    coverages: Mapping[PartitionId, PartitionCoverage]
    seen: Mapping[PartitionId, Observation]
    looked_at_ms: Mapping[str, int]
    at_ms: int

    def doubts(
        self, settled: Settled, transactions: Sequence[Transaction], cuts: Mapping[PartitionId, PartitionCut]
    ) -> list[str]:
        """One, naming the partitions."""
        newest_ms: dict[PartitionId, int] = {}
        for piece in (piece for one in transactions for piece in one):
            if not is_outside(piece, settled.next_offsets):
                pid = piece.partition_id
                newest_ms[pid] = max(newest_ms.get(pid, 0), piece.marker_ms)
        two_newest = sorted(((ms, pid) for pid, ms in newest_ms.items()), reverse=True)[:2]
        late = [
            pid
            for pid in cuts
            if any(ms > self._known_ms(pid) - MARKER_SPREAD_MS for ms, other in two_newest if other != pid)
        ]
        if not late:
            return []
        names = [TopicPartition(self.coverages[pid].topic, pid.partition) for pid in late]
        return [
            f"{_listed(names)}: not stored as far as the log stood at {format_moment(self.at_ms)}: of transactions that were "
            "committed right before, something may be missing there; once more is stored, the same moment may end a little earlier"
        ]

    def _known_ms(self, pid: PartitionId) -> int:
        coverage, seen = self.coverages[pid], self.seen[pid]
        reached = coverage.next_offset
        if seen.after is not None and seen.after.high_watermark <= reached:
            return self.at_ms + MARKER_SPREAD_MS * 2
        if seen.before is None or seen.before.high_watermark > reached:
            return 0
        writer = writer_of(coverage.runs[-1].object_key) if coverage.runs else ""
        looked_ms = 0 if seen.after else self.looked_at_ms.get(writer, 0)
        return max(seen.before.fetched_at_ms, looked_ms) - ANSWER_SLACK_MS + MARKER_SPREAD_MS


def _listed(names: Sequence[TopicPartition]) -> str:
    return ", ".join(map(str, sorted(names)[:_NAMED])) + f" and {len(names) - _NAMED} more" * (len(names) > _NAMED)
