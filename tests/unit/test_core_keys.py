"""Object keys."""

import pytest

from mirror.core.keys import (
    DAY_MS,
    SLOT_MS,
    RollupKey,
    SegmentKey,
    TopicKey,
    day_of,
    day_start_ms,
    format_rollup_key,
    format_segment_key,
    format_topic_key,
    parse_rollup_key,
    parse_segment_key,
    parse_topic_key,
    slot_start_ms,
)
from mirror.errors import DamageError
from tests.builders import T0_MS, TOPIC_ID


def test_segment_key_reads_as_time_writer_sequence() -> None:
    """The folder is the UTC hour of the time in the name."""
    assert format_segment_key(SegmentKey(T0_MS, "w1", 7)) == "l0/2026-11-18/11/1795000000000-w1-0000000007.seg"


@pytest.mark.parametrize(
    "key",
    [
        "l0/2026-11-18/12/1795000000000-w1-0000000007.seg",
        "l0/2026-11-19/11/1795000000000-w1-0000000007.seg",
        "l0/2026-11-18/11/1795000000000-W1-0000000007.seg",
        "l0/2026-11-18/11/1795000000000-w1-7.seg",
        "l0/2026-11-18/11/1795000000000-w1-0000000007.seg\n",
        "l0/2026-11-18/11/179500000000٠-w1-0000000007.seg",
        "x/l0/2026-11-18/11/1795000000000-w1-0000000007.seg",
        "",
    ],
    ids=["hour", "day", "capitals", "width", "newline", "other-digits", "prefix", "empty"],
)
def test_foreign_segment_key_is_refused(key: str) -> None:
    """A name that no writer makes is never taken for a segment."""
    with pytest.raises(DamageError):
        parse_segment_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "index/l0/2026-13-45/day-w1.idx",
        "index/l0/2026-11-18/1105-w1.idx",
        "index/l0/2026-11-18/2460-w1.idx",
        "index/l0/2026-11-18/day-W.idx",
        "index/l0/0000-00-00/0000-w.idx",
    ],
    ids=["no-day", "no-slot", "no-hour", "capitals", "zeros"],
)
def test_foreign_rollup_key_is_refused(key: str) -> None:
    """Slots begin every ten minutes of a real day."""
    with pytest.raises(DamageError):
        parse_rollup_key(key)


@pytest.mark.parametrize(
    "key", ["topics/a/b/1.json", f"topics/a b/{TOPIC_ID}/1795000000000.json", f"topics/a/{TOPIC_ID}/179500000000٠.json"]
)
def test_foreign_topic_key_is_refused(key: str) -> None:
    """Names, ids and times have one form."""
    with pytest.raises(DamageError):
        parse_topic_key(key)


def test_name_that_could_not_be_read_back_is_not_made() -> None:
    """Formatting refuses what parsing would refuse."""
    with pytest.raises(ValueError, match="no object can be named"):
        format_segment_key(SegmentKey(T0_MS, "Worker-1", 1))
    with pytest.raises(ValueError, match="no object can be named"):
        format_segment_key(SegmentKey(T0_MS, "w", 10**10))
    with pytest.raises(ValueError, match="no object can be named"):
        format_topic_key(TopicKey("a/b", TOPIC_ID, T0_MS))
    with pytest.raises(ValueError, match="no object can be named"):
        format_rollup_key(RollupKey(0, SLOT_MS, ""))


def test_days_and_slots() -> None:
    """A day and a slot begin where UTC says."""
    assert day_of(T0_MS) == "2026-11-18"
    assert day_start_ms("2026-11-18") + 11 * 3600_000 <= T0_MS < day_start_ms("2026-11-18") + 12 * 3600_000
    assert slot_start_ms(T0_MS) % SLOT_MS == 0
    assert parse_rollup_key(format_rollup_key(RollupKey(day_start_ms("2026-11-18"), DAY_MS, "w"))).length_ms == DAY_MS
    for day in ("2026-02-30", "20261118", "2026-11-18x", "٢٠٢٦-11-18", ""):
        with pytest.raises(DamageError):
            day_start_ms(day)
