"""The first and the last watermark sample of each run, as roll-ups keep them: what tells the cut at a moment without opening footers.

A moment lies before, behind or between the samples of a run. Before and behind it the first and the last one say all that is asked of
the run; only between them its footer is needed. They stay packed until somebody asks: a plan asks for those of a day or two.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import zstandard

from mirror.core.segment.index import RunEntry, WatermarkSample
from mirror.errors import DamageError

__all__ = ["SAMPLE_COLUMNS", "EdgeSamples", "RunSamples", "edge_samples", "pack_samples"]

EdgeSamples = Sequence[WatermarkSample]
"""One sample, or the first and the last one of several; none are never kept."""

SAMPLE_COLUMNS = (
    "sample_count",
    "first_fetched_at_ms",
    "first_log_start_offset",
    "first_high_watermark",
    "first_last_stable_offset",
    "last_fetched_at_ms",
    "last_log_start_offset",
    "last_high_watermark",
    "last_last_stable_offset",
)
_WIDTH = np.dtype("<i8")
_HIGH, _STABLE = (3, 7), (4, 8)  # numbers of columns
_Int64s = npt.NDArray[np.int64]


def edge_samples(run: RunEntry) -> list[WatermarkSample] | None:
    """Of a run as its footer has it; None where they would not say all of it: there are none, or the writer's clock went back."""
    samples = run.watermarks
    if not samples or any(b.fetched_at_ms < a.fetched_at_ms for a, b in pairwise(samples)):
        return None
    return [samples[0]] if len(samples) == 1 else [samples[0], samples[-1]]


def pack_samples(known: Mapping[int, EdgeSamples], next_offsets: _Int64s) -> bytes | None:
    """The columns as a zstd frame; None where nothing is known.

    Args:
        known: by row.
        next_offsets: of the runs of all rows.
    """
    if not known:
        return None
    columns = np.zeros((len(SAMPLE_COLUMNS), len(next_offsets)), dtype=np.int64)
    for row, samples in known.items():
        first, last = samples[0], samples[-1]
        columns[:, row] = (len(samples), *_numbers(first), *_numbers(last))
    is_known = columns[0] > 0
    for high, stable in zip(_HIGH, _STABLE, strict=True):
        columns[stable] = columns[high] - columns[stable]
        columns[high] = np.where(is_known, columns[high] - next_offsets, 0)
    raw = np.diff(columns, axis=1, prepend=np.int64(0)).astype(_WIDTH).tobytes()
    return zstandard.ZstdCompressor(level=3, write_content_size=True, write_checksum=True).compress(raw)


def _numbers(sample: WatermarkSample) -> tuple[int, int, int, int]:
    return sample.fetched_at_ms, sample.log_start_offset, sample.high_watermark, sample.last_stable_offset


def _unpacked(frame: bytes, next_offsets: _Int64s, where: str) -> _Int64s:
    """Rows of numbers, one a run."""
    try:
        raw = zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise _damage(where, f"cannot be unpacked: {error}") from error
    shape = len(SAMPLE_COLUMNS), len(next_offsets)
    columns = np.cumsum(np.frombuffer(raw, dtype=_WIDTH).reshape(shape), axis=1, dtype=np.int64)
    if not ((columns[0] >= 0) & (columns[0] <= 2)).all():
        raise _damage(where, "contradict themselves")
    for high, stable in zip(_HIGH, _STABLE, strict=True):
        columns[high] += next_offsets
        columns[stable] = columns[high] - columns[stable]
    return columns.T


def _damage(where: str, what: str) -> DamageError:
    return DamageError(
        f"{where}: the watermark samples {what}",
        hint="delete that roll-up: workers make it again, footers are read until then",
    )


@dataclass(slots=True)
class _Block:
    """Rows ``[first_row, first_row + row_count)``: ``rows`` as numbers once they are unpacked."""

    first_row: int
    row_count: int
    frame: bytes
    where: str
    rows: _Int64s | None = None


class RunSamples:
    """What is known of the samples of a table's runs, by row. Any thread may ask; the table's offsets must stay as they are."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._first_rows: list[int] = []
        self.loose: dict[int, EdgeSamples] = {}

    def add_packed(self, frame: bytes, row_count: int, where: str) -> None:
        """The samples of rows 0 to ``row_count``, packed; into an empty one.

        Raises:
            DamageError: they are not those of so many rows.
        """
        try:
            raw_bytes = zstandard.frame_content_size(frame)
        except zstandard.ZstdError as error:
            raise _damage(where, f"cannot be unpacked: {error}") from error
        if raw_bytes != row_count * len(SAMPLE_COLUMNS) * _WIDTH.itemsize:
            raise _damage(where, "are not those of its runs")
        self._append(_Block(0, row_count, frame, where))

    def add_all(self, other: "RunSamples", first_row: int) -> None:
        """Those of another table, whose rows begin here; tables come in the order of their rows."""
        for block in other._blocks:
            self._append(_Block(block.first_row + first_row, block.row_count, block.frame, block.where, block.rows))
        self.loose.update((row + first_row, samples) for row, samples in other.loose.items())

    def of(self, row: int, next_offsets: _Int64s) -> EdgeSamples | None:
        """The edge samples of a run; None where only its footer has them.

        Args:
            row: of the run.
            next_offsets: the table's column.

        Raises:
            DamageError: the roll-up that has them is not what was written.
        """
        loose = self.loose.get(row)
        if loose is not None:
            return loose
        at = bisect_right(self._first_rows, row) - 1
        if at < 0 or row >= self._blocks[at].first_row + self._blocks[at].row_count:
            return None
        block = self._blocks[at]
        if block.rows is None:
            own = next_offsets[block.first_row : block.first_row + block.row_count]
            block.rows = _unpacked(block.frame, own, block.where)
        count, *numbers = block.rows[row - block.first_row].tolist()
        return [WatermarkSample(*numbers[4 * n : 4 * n + 4]) for n in range(count)] or None

    def chosen(self, rows: Sequence[int], next_offsets: _Int64s) -> "RunSamples":
        """Those of some rows, which are numbered from 0 then."""
        found = RunSamples()
        if self._blocks or self.loose:
            known = ((number, self.of(row, next_offsets)) for number, row in enumerate(rows))
            found.loose = {number: samples for number, samples in known if samples is not None}
        return found

    def _append(self, block: _Block) -> None:
        self._blocks.append(block)
        self._first_rows.append(block.first_row)
