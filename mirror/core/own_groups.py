"""What of the group log is not stored: the commits of the mirror's own groups.

Storing something makes a mirror commit, and each commit is a record of the group log: stored, it would feed itself for ever. Mirrors of one
cluster would feed each other in the same way, so every mirror's group counts as own.
"""

import re
import struct
from collections.abc import Collection, Iterator

import numpy as np

from mirror.core.compression import unpack
from mirror.core.group_log import group_of_key
from mirror.core.record_batch import CODEC_MASK, CONTROL_BIT, HEADER_BYTES, read_header
from mirror.core.records import decode_record, iterate_records
from mirror.core.slices import SliceBody
from mirror.errors import MirrorError

__all__ = ["OwnGroups"]

_LENGTH = struct.Struct(">h")


class OwnGroups:
    """Recognises batches all of whose records are about certain groups.

    Args:
        names: of the groups.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self.names = frozenset(names)
        needles = [re.escape(_LENGTH.pack(len(name)) + name) for name in sorted(n.encode() for n in self.names)]
        self._pattern = re.compile(b"|".join(needles)) if needles else None

    def owns(self, key: bytes | None) -> bool:
        """Whether a record with this key is about one of the groups; what cannot be read is not."""
        try:
            return key is not None and group_of_key(key) in self.names
        except MirrorError:
            return False

    def owns_all(self, batch: memoryview) -> bool:
        """Whether all records of a whole batch are; what cannot be read is not, nor is a transaction marker."""
        try:
            header = read_header(batch)
            if header.is_control or self._pattern is None:
                return False
            records = unpack(header.codec, batch[HEADER_BYTES : header.batch_bytes])
            if self._pattern.search(records) is None:
                return False
            keys = [decode_record(raw).key for raw in iterate_records(header, records)]
        except MirrorError:
            return False
        return bool(keys) and all(self.owns(key) for key in keys)

    def without(self, body: SliceBody) -> SliceBody:
        """The body without such batches; it covers the same offsets, for the same reason as one without aborted batches."""
        if not self._may_hold_some(body):
            return body
        keep = np.ones(len(body.columns), dtype=np.bool_)
        parts: list[memoryview] = []
        for index, part, start, following in _batches(body):
            if self.owns_all(part[start:following]):
                keep[index] = False
            elif start and keep[index - 1]:
                parts[-1] = part[start - len(parts[-1]) : following]
            else:
                parts.append(part[start:following])
        if keep.all():
            return body
        columns = body.columns.select(keep)
        has_markers = bool(((columns.column("attributes") & CONTROL_BIT) != 0).any())
        return SliceBody(tuple(parts), columns, body.next_offset, has_markers, body.leader_epochs)

    def _may_hold_some(self, body: SliceBody) -> bool:
        if self._pattern is None or not len(body.columns):
            return False
        if ((body.columns.column("attributes") & CODEC_MASK) != 0).any():
            return True
        return any(self._pattern.search(part) is not None for part in body.parts)


def _batches(body: SliceBody) -> Iterator[tuple[int, memoryview, int, int]]:
    """Index, part, and where in it the batch begins and ends."""
    parts = iter(body.parts)
    part = next(parts)
    position = 0
    for index, size_bytes in enumerate(body.columns.batch_bytes.tolist()):
        if position == len(part):
            part, position = next(parts), 0
        yield index, part, position, position + size_bytes
        position += size_bytes
