"""Making roll-ups: the indexes of an ended slot (ten minutes), then of an ended day, in one object each.

Invariants:

- A roll-up leaves out no object that was there when it was made: where one cannot be read, there is no roll-up.
- An object may appear after its span was rolled up (its upload was retried for long). Within a day, readers find it in the listing that
  they make anyway; a finished day is looked at again, for three days, and gets one more roll-up. Readers take the union.
- Any number of workers may do this at once: each writes under its own name, and a second roll-up of a span changes nothing.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mirror.core.keys import (
    DAY_MS,
    LEVEL_0_PREFIX,
    ROLLUP_PREFIX,
    SLOT_MS,
    RollupKey,
    day_start_ms,
    format_rollup_key,
    parse_rollup_key,
    parse_segment_key,
    segment_prefix,
    slot_start_ms,
)
from mirror.core.rollup import RolledObject, decode_rollup, rolled_object
from mirror.errors import DamageError, MirrorError
from mirror.storage.repository import Repository

__all__ = ["DAY_GRACE_MS", "SLOT_GRACE_MS", "RollupMaker", "RollupResult"]

SLOT_GRACE_MS = 5 * 60 * 1000
DAY_GRACE_MS = 30 * 60 * 1000
_LOOK_AGAIN_MS = 6 * 60 * 60 * 1000
_LOOK_AGAIN_FOR_MS = 3 * DAY_MS
_READERS = 8


@dataclass(slots=True, kw_only=True)
class RollupResult:
    """What one round did.

    Attributes:
        made: keys of the roll-ups that were written.
        rolled_objects: segment objects that they name.
        problems: what could not be rolled up and why; a span with a damaged object has no roll-up until that object is gone.
    """

    made: list[str] = field(default_factory=list)
    rolled_objects: int = 0
    problems: list[str] = field(default_factory=list)


class RollupMaker:
    """Makes the roll-ups that are due. Blocks; call :meth:`run_once` about once a minute from a thread of its own.

    Args:
        repository: where.
        writer: names the roll-ups; 1 to 20 of ``0-9a-z``, different for every worker.
        on_problem: told of each problem as it is met.
    """

    def __init__(
        self, repository: Repository, writer: str = "rollup", *, on_problem: Callable[[str], None] | None = None
    ) -> None:
        self._repository = repository
        self._writer = writer
        self._on_problem = on_problem
        self._look_again_ms: dict[str, int] = {}  # finished days
        self._empty_slots: set[int] = set()

    def run_once(self, now_ms: int) -> RollupResult:
        """Make every roll-up that is due at ``now_ms`` and not there yet.

        Raises:
            AccessError, UnreachableError, StoreError: the store; what was made until then is kept, the next round goes on.
        """
        result = RollupResult()
        for day in list(self._repository.store.list_folders(LEVEL_0_PREFIX)):
            if self._look_again_ms.get(day, 0) > now_ms:
                continue
            try:
                start_ms = day_start_ms(day)
            except ValueError:
                self._problem(result, f"folder {LEVEL_0_PREFIX}{day}/ is not a day")
                continue
            spans = self._existing(day, result)
            if any(span.length_ms == DAY_MS for span in spans):
                self._finish_day(day, start_ms, spans, now_ms, result)
            elif self._roll_slots(start_ms, spans, now_ms, result) and now_ms >= start_ms + DAY_MS + DAY_GRACE_MS:
                self._finish_day(day, start_ms, self._existing(day, result), now_ms, result)
        return result

    def _roll_slots(self, start_ms: int, spans: Sequence[RollupKey], now_ms: int, result: RollupResult) -> bool:
        """Roll up the slots that are due; False where one of them could not be."""
        known = {span.start_ms for span in spans} | self._empty_slots
        last_due_ms = min(now_ms - SLOT_GRACE_MS, start_ms + DAY_MS) - SLOT_MS
        due = [slot_ms for slot_ms in range(start_ms, last_due_ms + 1, SLOT_MS) if slot_ms not in known]
        complete = True
        objects: dict[int, list[str]] = {}
        for hour in sorted({segment_prefix(slot_ms) for slot_ms in due}):
            for key in self._keys(hour, result):
                objects.setdefault(slot_start_ms(parse_segment_key(key).sealed_at_ms), []).append(key)
        for slot_ms in due:
            if slot_ms not in objects:
                self._empty_slots.add(slot_ms)
                continue
            entries = self._read(objects[slot_ms], result)
            if entries is None:
                complete = False
                continue
            self._put(RollupKey(slot_ms, SLOT_MS, self._writer), entries, now_ms, result)
        return complete

    def _finish_day(
        self, day: str, start_ms: int, spans: Sequence[RollupKey], now_ms: int, result: RollupResult
    ) -> None:
        """A roll-up of all that is listed, from the roll-ups there are and the footers of what none of them names."""
        days = [span for span in spans if span.length_ms == DAY_MS]
        named = self._rolled(days, result)
        listed = self._keys(f"{LEVEL_0_PREFIX}{day}/", result)
        complete = True
        if not named.keys() >= set(listed):
            named |= self._rolled([span for span in spans if span.length_ms != DAY_MS], result)
            entries = self._read([key for key in listed if key not in named], result)
            if entries is None:
                complete = False
            else:
                named.update((entry.key, entry) for entry in entries)
                writer = f"{self._writer}x{now_ms // 1000:x}" if days else self._writer
                objects = [named[key] for key in sorted(named)]
                self._put(RollupKey(start_ms, DAY_MS, writer), objects, now_ms, result)
        if complete:
            is_old = now_ms >= start_ms + DAY_MS + _LOOK_AGAIN_FOR_MS
            self._look_again_ms[day] = (1 << 62) if is_old else now_ms + _LOOK_AGAIN_MS

    def _rolled(self, spans: Sequence[RollupKey], result: RollupResult) -> dict[str, RolledObject]:
        found: dict[str, RolledObject] = {}
        for span in spans:
            key = format_rollup_key(span)
            try:
                rollup = decode_rollup(self._repository.store.get(key), key)
            except DamageError as error:
                self._problem(result, f"{error.message}; footers are read instead")
                continue
            if rollup.repository_id != self._repository.identity.repository_id:
                self._problem(result, f"{key}: belongs to repository {rollup.repository_id}; footers are read instead")
                continue
            found.update((entry.key, entry) for entry in rollup.objects)
        return found

    def _existing(self, day: str, result: RollupResult) -> list[RollupKey]:
        spans = []
        for info in self._repository.store.list(f"{ROLLUP_PREFIX}{day}/"):
            try:
                spans.append(parse_rollup_key(info.key))
            except DamageError as error:
                self._problem(result, error.message)
        return spans

    def _keys(self, prefix: str, result: RollupResult) -> list[str]:
        keys = []
        for info in self._repository.list_segments(prefix):
            try:
                parse_segment_key(info.key)
            except DamageError as error:
                self._problem(result, error.message)
            else:
                keys.append(info.key)
        return keys

    def _read(self, keys: Sequence[str], result: RollupResult) -> list[RolledObject] | None:
        """The indexes of all these objects, or None where one cannot be read."""

        def read(key: str) -> RolledObject | MirrorError:
            try:
                index, size_bytes = self._repository.read_index(key)
            except DamageError as error:
                return error
            return rolled_object(key, size_bytes, index)

        if not keys:
            return []
        with ThreadPoolExecutor(min(_READERS, len(keys)), thread_name_prefix="rollup") as pool:
            results = list(pool.map(read, keys))
        errors = [entry for entry in results if isinstance(entry, MirrorError)]
        for error in errors:
            self._problem(result, error.message)
        return None if errors else [entry for entry in results if isinstance(entry, RolledObject)]

    def _put(self, span: RollupKey, entries: list[RolledObject], now_ms: int, result: RollupResult) -> None:
        self._repository.put_rollup(span, entries, now_ms)
        result.made.append(format_rollup_key(span))
        result.rolled_objects += len(entries)

    def _problem(self, result: RollupResult, problem: str) -> None:
        result.problems.append(problem)
        if self._on_problem:
            self._on_problem(problem)
