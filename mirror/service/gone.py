"""Objects of a repository that somebody deleted: finding them, and accepting that they are gone."""

import secrets
import time
from collections.abc import Iterable, Sequence

from mirror.core.gone_segments import GoneSegment, gone_in_table, gone_segments
from mirror.core.keys import SegmentKey, format_segment_key, parse_segment_key
from mirror.core.moments import utc_second
from mirror.core.rollup import RolledObject
from mirror.core.run_table import RunTable
from mirror.core.segment.index import FORMAT_VERSION, GoneEntry, SegmentIndex
from mirror.core.segment.layout import encode_object
from mirror.errors import DamageError
from mirror.storage.repository import Repository

__all__ = ["accept_gone", "describe_gone", "find_gone", "find_gone_in_table"]


def find_gone(repository: Repository, objects: Iterable[RolledObject]) -> list[GoneSegment]:
    """Objects that were there once, by what those that are there say.

    Raises:
        AccessError, UnreachableError, StoreError: the store, which is listed once more where something is missing.
    """
    indexes = [entry.index for entry in objects]
    if not gone_segments(indexes):
        return []
    # A listing takes time, and puts end in any order: what came meanwhile is in a new one. So is what cannot be read.
    return gone_segments(indexes, _listed(repository))


def find_gone_in_table(repository: Repository, table: RunTable) -> list[GoneSegment]:
    """The same by a table.

    Raises:
        AccessError, UnreachableError, StoreError: the store, which is listed once more where something is missing.
    """
    return gone_in_table(table, _listed(repository)) if gone_in_table(table) else []


def _listed(repository: Repository) -> list[tuple[str, int]]:
    found = []
    for info in repository.list_segments():
        try:
            key = parse_segment_key(info.key)
        except DamageError:
            continue
        found.append((key.writer, key.sequence))
    return found


def describe_gone(gone: GoneSegment) -> str:
    """For people."""
    moment = utc_second(gone.before_ms)
    return f"object {gone.sequence} of writer {gone.writer} was durable before {moment} and is gone; nobody knows what it held"


def accept_gone(repository: Repository, gone: Sequence[GoneSegment]) -> None:
    """Write down that a person knows: `status`, `verify` and `restore` speak of these no more.

    Raises:
        AccessError, UnreachableError, StoreError: the store.
    """
    now_ms = time.time_ns() // 1_000_000
    identity = repository.identity
    index = SegmentIndex(
        format_version=FORMAT_VERSION,
        repository_id=identity.repository_id,
        cluster_id=identity.cluster_id,
        writer=secrets.token_hex(6),
        sequence=1,
        sealed_at_ms=now_ms,
        gone=[GoneEntry(writer=entry.writer, sequence=entry.sequence, accepted_at_ms=now_ms) for entry in gone],
    )
    repository.store.put(format_segment_key(SegmentKey(now_ms, index.writer, index.sequence)), encode_object([], index))
