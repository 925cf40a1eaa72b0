"""The transactional batches of one partition around its cut: as few runs as possible, read when they are asked for."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from mirror.core.compression import unpack
from mirror.core.coverage import PartitionCoverage
from mirror.core.cuts import Observation
from mirror.core.group_records import keyed_records
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.record_batch import TRANSACTIONAL_BIT, is_commit_key
from mirror.core.run_pieces import RunPieces
from mirror.core.transaction_pieces import SeenBatch, TransactionPiece, find_pieces
from mirror.core.whole_transactions import MARKER_SPREAD_MS
from mirror.service.reading import ClippedBatch, ReadTask, load_task
from mirror.service.restore.samples import SampleReader
from mirror.storage.repository import Repository

__all__ = ["MOST_BYTES", "TransactionWindow"]

MOST_BYTES: Final = 256 << 20
"""Of one partition; what needs more is not settled, and said so."""

_CLOCK_SLACK_MS: Final = 10_000  # markers have the time of their broker, samples that of the worker


class TransactionWindow:
    """Runs ``[first, following)`` of a partition: from the one that holds the cut to what stood in the log at the moment; grows backwards.

    Args:
        repository: where from.
        samples: to read watermark samples with.
        coverage: of the partition; a run of it has markers.
        seen: the samples around the moment; the one after it tells how far the log had come.
        next_offset: the cut.
        at_ms: the moment.
        sealed_at_ms: of every object.
    """

    def __init__(
        self,
        repository: Repository,
        samples: SampleReader,
        coverage: PartitionCoverage,
        seen: Observation,
        *,
        next_offset: int,
        at_ms: int,
        sealed_at_ms: Mapping[str, int],
    ) -> None:
        self._repository = repository
        self._samples = samples
        self._runs = RunPieces.of(coverage.runs)
        self._sealed_at_ms = sealed_at_ms
        self._at_ms = at_ms
        upper = coverage.next_offset if seen.after is None else seen.after.high_watermark
        self._first = max(0, int(np.searchsorted(self._runs.start_offsets, next_offset)) - 1)
        self._following = max(self._first + 1, int(np.searchsorted(self._runs.start_offsets, upper)))
        self._read: dict[int, list[SeenBatch]] = {}
        self._pieces: list[TransactionPiece] | None = None
        self.partition_id: PartitionId = coverage.partition_id
        self.name = TopicPartition(coverage.topic, coverage.partition_id.partition)
        self.read_bytes = 0
        self.has_too_much = False  # more than MOST_BYTES would have to be read

    @property
    def earlier_ms(self) -> int | None:
        """Until when the run before the window was fetched at the latest; None where there is none."""
        return self._sealed_at_ms[self._runs[self._first - 1].object_key] if self._first else None

    def grow(self) -> None:
        """Take in the run before."""
        self._first -= 1
        self._pieces = None

    def load(self) -> list[TransactionPiece]:
        """The pieces of transactions in it, read at most once. Where it holds no marker, no transaction ends in it, and nothing is read.

        Raises:
            DamageError: a run cannot be read.
            UnreachableError, AccessError, StoreError: as the store says.
        """
        if self._pieces is not None:
            return self._pieces
        around = self._runs[self._first : self._following + 1]
        if any(piece.run.has_markers for piece in around):
            self._read_all()
        self._pieces = self._found()
        if self._read and any(not piece.has_marker for piece in self._pieces) and self._following < len(self._runs):
            # What was open then is stored right after it has ended: its marker is near.
            if self._following not in self._read:
                self._read[self._following] = self._batches(self._following)
            self._pieces = self._found()
        return self._pieces

    def may_begin_before(self, piece: TransactionPiece) -> bool:
        """Whether runs before the window may hold something of it.

        What a run holds had been committed when it was fetched: none of a transaction whose marker was written later.
        """
        earlier_ms = self.earlier_ms
        return not piece.is_start_known and earlier_ms is not None and piece.marker_ms - MARKER_SPREAD_MS <= earlier_ms

    def reaches_back_to(self, time_ms: int) -> bool:
        """Whether all that was written at that time or later, and before the cut, is in it."""
        earlier_ms = self.earlier_ms
        if earlier_ms is None or earlier_ms < time_ms:
            return True
        start_offset = self._runs[self._first].start_offset
        if any(
            sample.fetched_at_ms < time_ms and sample.high_watermark >= start_offset
            for index in self._read
            for sample in self._samples.of(self._runs[index])
        ):
            return True
        return any(
            batch.is_commit is not None and batch.timestamp_ms < time_ms
            for batches in self._read.values()
            for batch in batches
        )

    def _read_all(self) -> None:
        for index in range(self._first, self._following):
            if self.read_bytes > MOST_BYTES:
                self.has_too_much = True
                return
            if index not in self._read:
                self._read[index] = self._batches(index)
            latest_ms = max((b.timestamp_ms for b in self._read[index] if b.is_commit is not None), default=0)
            if latest_ms > self._at_ms + _CLOCK_SLACK_MS:  # so what follows was written later
                self._following = index + 1
                break

    def _found(self) -> list[TransactionPiece]:
        start_offset = self._runs[self._first].start_offset
        settled = [start_offset] if not self._first else []
        for index in self._read:
            settled += [
                sample.high_watermark
                for sample in self._samples.of(self._runs[index])
                if sample.last_stable_offset == sample.high_watermark >= start_offset
            ]
        batches = [batch for index in sorted(self._read) for batch in self._read[index]]
        found = find_pieces(self.partition_id, batches, settled_offsets=settled, open_ms=self._at_ms)
        # A marker whose data are not in the window, nor before it: they are lost, or there were none.
        return [piece for piece in found if piece.start_offset < piece.next_offset or self.may_begin_before(piece)]

    def _batches(self, index: int) -> list[SeenBatch]:
        piece = self._runs[index]
        self.read_bytes += piece.run.stored_bytes
        found: list[SeenBatch] = []
        for loaded in load_task(self._repository, ReadTask(piece.object_key, (piece,))):
            found += [_seen(clipped) for clipped in loaded.batches() if _is_transactional(clipped)]
        return found


def _is_transactional(clipped: ClippedBatch) -> bool:
    header = clipped.batch.header
    return bool(header.attributes & TRANSACTIONAL_BIT) or header.is_control


def _seen(clipped: ClippedBatch) -> SeenBatch:
    batch = clipped.batch
    header = batch.header
    is_commit = None
    if header.is_control:
        body = batch.body if batch.unpacked else unpack(header.codec, batch.body)
        is_commit = any(is_commit_key(key) for _, _, key, _ in keyed_records(header, body))
    return SeenBatch(
        base_offset=max(header.base_offset, clipped.start_offset),
        next_offset=min(header.next_offset, clipped.next_offset),
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        timestamp_ms=header.max_timestamp,
        is_commit=is_commit,
        first_ms=header.max_timestamp if header.has_append_time else header.base_timestamp,
    )
