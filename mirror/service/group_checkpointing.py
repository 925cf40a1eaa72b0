"""Makes checkpoints of the group log, so that where groups stood is found by reading little.

One is due when reading what was added since the last one would cost much, compared with reading a checkpoint; and once a day where anything
was added. It is made from the last one and what was added, so making it reads little too.
"""

import time
from collections.abc import Mapping
from typing import Final

from mirror.core.coverage import PartitionCoverage
from mirror.core.group_checkpoint import GroupCheckpoint, checkpoint_of
from mirror.core.positions import PartitionId
from mirror.core.run_pieces import RunPieces
from mirror.core.table_coverage import cover_table
from mirror.errors import DamageError, ObjectNotFoundError, UnsupportedFormatError
from mirror.service.group_checkpoints import list_group_checkpoints, put_group_checkpoint, read_group_checkpoint
from mirror.service.group_folding import fold_group_log
from mirror.service.groups import choose_group_log
from mirror.storage.repository import Repository
from mirror.storage.table_loading import load_table

__all__ = ["GroupCheckpointer"]

_FIRST_LOOK_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 3600.0
_REST: Final = 100  # times as long as a look took: it costs a worker one percent at most
_DAY_MS: Final = 24 * 60 * 60 * 1000
_RUN_COST_BYTES: Final = 64 << 10  # fetching a run costs as much as so many bytes of it
_LEAST_COST_BYTES: Final = 16 << 20
_TIMES_ITS_SIZE: Final = 4


class GroupCheckpointer:
    """Makes the checkpoints that are due. Blocks; call :meth:`run_once` about once a minute from a thread of its own.

    Any number of workers may do this at once: each writes under its own name.

    Args:
        repository: where.
        writer: names the checkpoints; 1 to 32 of ``0-9a-z``, different for every worker.
        first_look_seconds: from now, 10 minutes if None; a worker that has just started has other things to do.
    """

    def __init__(self, repository: Repository, writer: str, *, first_look_seconds: float | None = None) -> None:
        self._repository = repository
        self._writer = writer
        self._next_look = time.monotonic() + (_FIRST_LOOK_SECONDS if first_look_seconds is None else first_look_seconds)

    def run_once(self, now_ms: int) -> str:
        """Make one if it is time to look, and one is due; its key, else an empty text.

        Raises:
            DamageError: what is stored of the group log is not what was written.
            AccessError, UnreachableError, StoreError: the store.
        """
        begun = time.monotonic()
        if begun < self._next_look:
            return ""
        self._next_look = begun + _LOOK_SECONDS
        try:
            return self.look(now_ms)
        finally:
            took_seconds = time.monotonic() - begun
            self._next_look = max(self._next_look, begun + took_seconds * _REST)

    def look(self, now_ms: int, *, at_once: bool = False) -> str:
        """Make one if it is due, or at once where anything was added; its key, else an empty text.

        Raises:
            DamageError, AccessError, UnreachableError, StoreError: see :meth:`run_once`.
        """
        coverages = cover_table(load_table(self._repository, on_damage=lambda _key, _error: None).table)
        chosen = {pid: entry for pid, entry in choose_group_log(coverages).items() if entry.runs}
        if not chosen or not self._is_due(chosen, now_ms, at_once=at_once):
            return ""
        folded = fold_group_log(self._repository, chosen)
        checkpoint = GroupCheckpoint(
            repository_id=self._repository.identity.repository_id,
            topic_id=next(iter(chosen)).topic_id,
            newest_record_ms=max(0, *(fold.newest_record_ms for fold in folded.folds.values())),
            created_at_ms=now_ms,
            partitions=[
                checkpoint_of(folded.folds[pid], pid.partition, entry.runs, folded.problems[pid])
                for pid, entry in sorted(chosen.items())
            ],
        )
        return put_group_checkpoint(self._repository, checkpoint, self._writer)

    def _is_due(self, chosen: Mapping[PartitionId, PartitionCoverage], now_ms: int, *, at_once: bool) -> bool:
        reached: dict[int, int] = {}
        made_at_ms, size_bytes = 0, 0
        known = list_group_checkpoints(self._repository, next(iter(chosen)).topic_id)
        for key in known[:-3:-1]:
            try:
                last, size_bytes = read_group_checkpoint(self._repository, key)
            except (DamageError, UnsupportedFormatError, ObjectNotFoundError):
                continue
            reached = {part.partition: part.next_offset for part in last.partitions}
            made_at_ms = last.created_at_ms
            break
        added_count, added_bytes = 0, 0
        for pid, entry in chosen.items():
            sizes = RunPieces.of(entry.runs).clipped(reached.get(pid.partition, 0), 2**63 - 1).column("stored_bytes")
            added_count += int((sizes > 0).sum())
            added_bytes += int(sizes.sum())
        cost_bytes = added_bytes + _RUN_COST_BYTES * added_count
        is_much = cost_bytes >= max(_LEAST_COST_BYTES, _TIMES_ITS_SIZE * size_bytes)
        return added_count > 0 and (at_once or is_much or now_ms - made_at_ms >= _DAY_MS)
