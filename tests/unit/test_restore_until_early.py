"""`--until` before everything is refused; before everything as far as indexes tell, batches are opened. `--at` behind everything."""

import pytest

from mirror.core.positions import PartitionId
from mirror.core.recovery_point import PointKind, RecoveryPoint
from mirror.core.restore_selection import RestoreSelection
from mirror.core.seal_times import SealTimes
from mirror.core.table_coverage import cover_table
from mirror.core.topic_filter import TopicFilter
from mirror.errors import RefusedError
from mirror.service.restore import cutting
from mirror.service.restore.cutting import find_cuts
from mirror.service.restore.samples import SampleReader
from mirror.storage.table_loading import load_table
from tests.builders import a_batch
from tests.observe_builders import T0_MS, TOPIC_ID, RepositoryBuilder, a_slice

DAY_MS = 24 * 60 * 60 * 1000


def until(time_ms: int, kind: PointKind = PointKind.UNTIL) -> int:
    """Where the cut of the one partition lies; its second batch begins at the present and holds a record five days older."""
    builder = RepositoryBuilder()
    builder.start("orders", 0)
    first = a_batch(0, 3, timestamps=[T0_MS, T0_MS + 1, T0_MS + 2])
    second = a_batch(3, 3, timestamps=[T0_MS, T0_MS - 5 * DAY_MS, T0_MS + 2])
    builder.put([a_slice("orders", 0, 0, first + second)])
    table = load_table(builder.repository, on_damage=lambda key, error: pytest.fail(f"{key}: {error}")).table
    selection = RestoreSelection(
        topics=TopicFilter(include=("orders",)), point=RecoveryPoint(kind=kind, time_ms=time_ms)
    )
    found = find_cuts(
        SampleReader(builder.repository),
        selection,
        {"orders": TOPIC_ID},
        cover_table(table),
        [],
        SealTimes(table),
        now_ms=T0_MS + DAY_MS,
    )
    return found.by_partition[PartitionId(TOPIC_ID, 0)].next_offset


def test_a_record_that_is_older_than_the_first_of_its_batch_counts() -> None:
    """To the millisecond."""
    assert until(T0_MS - 3 * DAY_MS) == until(T0_MS - 5 * DAY_MS) == 6


def test_before_everything_it_is_refused_with_the_oldest_time_there_is() -> None:
    """That of the record, not of its batch."""
    with pytest.raises(RefusedError, match="is as old as") as refused:
        until(T0_MS - 5 * DAY_MS - 1)
    assert refused.value.hint == "the oldest is of 2026-09-16T14:13:20.000Z"


def test_what_was_not_opened_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository may be too large to look at all of it."""
    monkeypatch.setattr(cutting, "_MOST_LOOKED_AT_BYTES", 10)
    with pytest.raises(RefusedError, match="is known to be as old as"):
        until(T0_MS - 3 * DAY_MS)


def test_behind_the_newest_thing_stored_the_refusal_names_latest() -> None:
    """An idle cluster stores nothing: all that there is may be what is wanted."""
    with pytest.raises(RefusedError, match="the newest thing stored is of") as refused:
        until(T0_MS + DAY_MS, PointKind.AT)
    assert "--latest brings the same records" in str(refused.value.hint)
