"""What batches add up to, to be compared with what an index says of them."""

from mirror.core.record_batch import CONTROL_BIT, BatchColumns, BatchHeader
from mirror.core.segment.index import RunEntry

__all__ = ["Tally"]


class Tally:
    """What the batches of a block or run add up to, so far."""

    def __init__(self) -> None:
        self.batches = 0
        self.data_records = 0
        self.records_decoded = 0
        self.first_offset: int | None = None
        self.next_offset = 0
        self.min_base_timestamp_ms: int | None = None
        self.max_timestamp_ms: int | None = None
        self.block_times: tuple[int, int] | None = None
        self.has_markers = False
        self.in_order = True

    def add(self, header: BatchHeader, decoded: int | None) -> None:
        """One batch, with how many of its records were decoded."""
        self.batches += 1
        if self.first_offset is None:
            self.first_offset = header.base_offset
        self.in_order &= header.base_offset >= self.next_offset
        self.next_offset = header.next_offset
        low, high = self.block_times or (header.base_timestamp, header.max_timestamp)
        self.block_times = (min(low, header.base_timestamp), max(high, header.max_timestamp))
        if header.is_control:
            self.has_markers = True
            return
        self.data_records += header.record_count
        self.records_decoded += decoded or 0
        self._widen(header.base_timestamp, header.max_timestamp)

    def add_columns(self, columns: BatchColumns) -> None:
        """Consecutive batches at once, records not decoded."""
        if not len(columns):
            return
        base_offsets, next_offsets = columns.column("base_offset"), columns.next_offset
        base_times, max_times = columns.column("base_timestamp"), columns.column("max_timestamp")
        is_data = (columns.column("attributes") & CONTROL_BIT) == 0
        block = Tally()
        block.batches = len(columns)
        block.first_offset = int(base_offsets[0])
        block.next_offset = int(next_offsets[-1])
        block.in_order = bool((base_offsets[1:] >= next_offsets[:-1]).all())
        block.block_times = (int(base_times.min()), int(max_times.max()))
        block.has_markers = not is_data.all()
        if is_data.any():
            block.data_records = int(columns.column("record_count")[is_data].sum())
            block._widen(int(base_times[is_data].min()), int(max_times[is_data].max()))
        self.merge(block)

    def merge(self, block: "Tally") -> None:
        """What follows."""
        self.batches += block.batches
        self.data_records += block.data_records
        self.records_decoded += block.records_decoded
        self.has_markers |= block.has_markers
        if block.first_offset is not None:
            self.in_order &= block.in_order and block.first_offset >= self.next_offset
            self.first_offset = block.first_offset if self.first_offset is None else self.first_offset
            self.next_offset = block.next_offset
        if block.min_base_timestamp_ms is not None and block.max_timestamp_ms is not None:
            self._widen(block.min_base_timestamp_ms, block.max_timestamp_ms)

    def _widen(self, low: int, high: int) -> None:
        self.min_base_timestamp_ms = low if self.min_base_timestamp_ms is None else min(self.min_base_timestamp_ms, low)
        self.max_timestamp_ms = high if self.max_timestamp_ms is None else max(self.max_timestamp_ms, high)

    def fits_block(self, run: RunEntry, number: int) -> bool:
        """Whether the run's index says the same of its block ``number``."""
        blocks = run.blocks
        if blocks is None or self.first_offset is None or self.block_times is None:
            return False
        found = (self.first_offset, self.data_records, *self.block_times)
        said = (
            blocks.base_offsets[number],
            blocks.record_counts[number],
            blocks.min_base_timestamps_ms[number],
            blocks.max_timestamps_ms[number],
        )
        return found == said
