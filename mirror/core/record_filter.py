"""Which records somebody asked for: by time, key and content, opening as little of a batch as it takes to know."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mirror.core.record_batch import BatchHeader
from mirror.core.record_scan import scan_records
from mirror.core.records import Record

__all__ = ["RecordFilter"]

_EARLIEST_MS, _LATEST_MS = -(2**63), 2**63 - 1
_SPECIAL = frozenset(b".^$*+?{}[]\\|()")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """What is asked of a record; None asks nothing.

    Attributes:
        since_ms: smallest timestamp, included; as a consumer sees it, as all times here.
        until_ms: largest timestamp, included.
        key: the key's bytes, all of them.
        pattern: is found in the value or in the key.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    key: bytes | None = None
    pattern: re.Pattern[bytes] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it takes every record."""
        return self.since_ms is None and self.until_ms is None and not self.looks_inside

    @property
    def looks_inside(self) -> bool:
        """Whether keys and values decide."""
        return self.key is not None or self.pattern is not None

    def wants_times_up_to(self, max_timestamp_ms: int | None) -> bool:
        """Whether something may be wanted of records of which the largest timestamp is this (None: there are none).

        Nothing can be said by a smallest one: neither a run nor a batch has it. (A base timestamp is that of the first record.)
        """
        return max_timestamp_ms is not None and (self.since_ms is None or max_timestamp_ms >= self.since_ms)

    def wants_batch(self, header: BatchHeader) -> bool:
        """Whether a batch must be opened, as far as its header tells; a marker never."""
        if header.is_control or not header.record_count or not self.wants_times_up_to(header.max_timestamp):
            return False
        # With append time every record has the header's.
        return not (header.has_append_time and self.until_ms is not None and header.max_timestamp > self.until_ms)

    def records(
        self, header: BatchHeader, body: bytes | memoryview, start_offset: int, next_offset: int
    ) -> Iterator[Record]:
        """The wanted records of an unpacked batch with ``start_offset`` ≤ offset < ``next_offset``; of others no header is decoded.

        Raises:
            BatchDamageError: the body is not what its header says.
        """
        whole = bytes(body)
        if not all(needle in whole for needle in self.needles()):
            return iter(())
        return scan_records(
            header,
            whole,
            start_offset=start_offset,
            next_offset=next_offset,
            since_ms=_EARLIEST_MS if self.since_ms is None else self.since_ms,
            until_ms=_LATEST_MS if self.until_ms is None else self.until_ms,
            takes=self._takes if self.looks_inside else None,
        )

    def needles(self) -> tuple[bytes, ...]:
        """Bytes that stand in the unpacked body of every batch that holds a wanted record."""
        found = [] if self.key is None else [self.key]
        if self.pattern is not None and not self.pattern.flags and not _SPECIAL & set(self.pattern.pattern):
            found.append(self.pattern.pattern)
        return tuple(needle for needle in found if needle)

    def _takes(self, key: bytes | None, value: bytes | None) -> bool:
        if self.key is not None and key != self.key:
            return False
        search = None if self.pattern is None else self.pattern.search
        return (
            search is None
            or (value is not None and search(value) is not None)
            or (key is not None and search(key) is not None)
        )
