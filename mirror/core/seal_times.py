"""When each object of a table was sealed, by key."""

from collections.abc import Iterator, Mapping

import numpy as np

from mirror.core.keys import parse_segment_key
from mirror.core.run_table import RunTable
from mirror.errors import DamageError

__all__ = ["SealTimes"]


class SealTimes(Mapping[str, int]):
    """Milliseconds since the epoch by object key, without a dictionary of all keys.

    Args:
        table: of the objects.
    """

    def __init__(self, table: RunTable) -> None:
        self._table = table
        self._order = np.argsort(table.objects["named_ms"], kind="stable")
        self._named_ms = table.objects["named_ms"][self._order]

    def __getitem__(self, key: str) -> int:
        try:
            wanted = parse_segment_key(key)
        except DamageError:
            raise KeyError(key) from None
        first, following = (
            int(np.searchsorted(self._named_ms, wanted.sealed_at_ms, side=s)) for s in ("left", "right")
        )
        for row in self._order[first:following].tolist():
            if self._table.segment_key(row) == wanted:
                return int(self._table.objects["sealed_at_ms"][row])
        raise KeyError(key)

    def __len__(self) -> int:
        return self._table.object_count

    def __iter__(self) -> Iterator[str]:
        return (self._table.object_key(row) for row in range(len(self)))

    @property
    def newest_ms(self) -> int:
        """The newest; 0 without objects."""
        return int(self._table.objects["sealed_at_ms"].max(initial=0))

    def newest_by_writer(self) -> dict[str, int]:
        """Writer → when it last sealed an object."""
        newest = np.zeros(len(self._table.writers), dtype=np.int64)
        np.maximum.at(newest, self._table.objects["writer"], self._table.objects["sealed_at_ms"])
        return dict(zip(self._table.writers, newest.tolist(), strict=True))
