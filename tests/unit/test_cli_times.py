"""Moments as people type them: what is taken, what is refused, and what the refusal offers."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from mirror.cli.times import parse_moment
from mirror.core.moments import format_moment
from mirror.errors import UsageError

NOW_MS = 1_795_401_667_999  # 2026-11-23T02:41:07.999Z
HOUR_MS = 3_600_000


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts the machine's zone back."""
    yield
    monkeypatch.undo()
    time.tzset()


def in_zone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The machine stands there."""
    monkeypatch.setenv("TZ", name)
    time.tzset()


@contextmanager
def _refused(text: str) -> Iterator[UsageError]:
    error = UsageError("")
    with pytest.raises(UsageError) as caught:
        yield error
    assert text in caught.value.message
    error.hint = caught.value.hint


def refused(text: str) -> AbstractContextManager[UsageError]:
    """The block is refused with this message; the error has the hint."""
    return _refused(text)


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("2026-11-23T02:41:07Z", NOW_MS - 999),
        ("2026-11-23 02:41:07.999Z", NOW_MS),
        ("2026-11-23t02:41:07z", NOW_MS - 999),
        ("2026-11-23 02:41:07 UTC", NOW_MS - 999),
        ("2026-11-23T03:41:07+01:00", NOW_MS - 999),
        ("2026-11-23T03:41:07,9+0100", NOW_MS - 99),
        ("2026-11-22 21:11:07.99999-05:30", NOW_MS),
        ("2026-11-23T02:41Z", NOW_MS - 7_999),
        (" now ", NOW_MS),
        ("2h ago", NOW_MS - 2 * HOUR_MS),
        ("1h 30m ago", NOW_MS - HOUR_MS * 3 // 2),
        ("90s ago", NOW_MS - 90_000),
        ("3 days ago", NOW_MS - 72 * HOUR_MS),
        ("@1795401667999", NOW_MS),
    ],
)
def test_moments(text: str, moment_ms: int) -> None:
    """With a zone, relative to now, or counted; to the millisecond below."""
    assert parse_moment(text, now_ms=NOW_MS) == moment_ms


@pytest.mark.parametrize("moment_ms", [NOW_MS, -1, 0, -62_135_596_800_000, 2**63 - 1, -(2**63)])
def test_what_is_printed_can_be_typed(moment_ms: int) -> None:
    """Any 64-bit number, also beyond the calendar."""
    assert parse_moment(format_moment(moment_ms), now_ms=NOW_MS) == moment_ms


def test_moments_are_printed_with_milliseconds() -> None:
    """UTC, and as a number where there is no such year."""
    assert format_moment(NOW_MS) == "2026-11-23T02:41:07.999Z"
    assert format_moment(-1) == "1969-12-31T23:59:59.999Z"
    assert format_moment(2**62) == f"@{2**62}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a time"),
        ("yesterday", "is not a time"),
        ("2026-13-01T00:00Z", "month must be in 1..12"),
        ("2026-02-30T00:00Z", "day is out of range"),
        ("2026-11-23T25:00Z", "hour must be in 0..23"),
        ("2026-11-23T02:41:07+25:00", "there is no zone +25:00"),
        ("2026-11-23T02:41:07 Europe/Berlin", "is not a time"),
        ("2 fortnights ago", "there is no unit 'fortnights'"),
        ("999999999999999d ago", "is before 1970"),
        ("0001-01-01T00:00", "is not a time"),
    ],
)
def test_what_is_no_moment(text: str, why: str) -> None:
    """Said, with the forms that are taken."""
    with refused(why) as error:
        parse_moment(text, now_ms=NOW_MS)
    assert error.hint


def test_a_time_without_a_zone_is_refused_with_both_readings(monkeypatch: pytest.MonkeyPatch, zone: None) -> None:
    """Each can be copied and then means what was said."""
    in_zone(monkeypatch, "Europe/Berlin")
    with refused("has no zone") as error:
        parse_moment("2026-11-23 02:41:07", now_ms=NOW_MS)
    assert error.hint == ("copy one: UTC: 2026-11-23T02:41:07Z; this machine's zone, CET: 2026-11-23T02:41:07+01:00")
    assert parse_moment("2026-11-23T02:41:07+01:00", now_ms=NOW_MS) == NOW_MS - 999 - HOUR_MS


def test_the_hour_that_comes_twice_has_three_readings(monkeypatch: pytest.MonkeyPatch, zone: None) -> None:
    """When the clocks went back, the zone alone does not say which."""
    in_zone(monkeypatch, "Europe/Berlin")
    with refused("has no zone") as error:
        parse_moment("2026-10-25T02:30:00.5", now_ms=NOW_MS)
    assert error.hint is not None
    for reading in ("02:30:00.500Z", "02:30:00.500+02:00", "02:30:00.500+01:00"):
        assert f"2026-10-25T{reading}" in error.hint


def test_on_a_machine_in_utc_there_is_one_reading(monkeypatch: pytest.MonkeyPatch, zone: None) -> None:
    """Refused all the same: whoever typed it may have looked at another clock."""
    in_zone(monkeypatch, "UTC")
    with refused("has no zone") as error:
        parse_moment("2026-11-23T02:41", now_ms=NOW_MS)
    assert error.hint == "copy one: UTC, which is this machine's zone too: 2026-11-23T02:41:00Z"


@pytest.mark.parametrize(
    ("text", "lacks", "reading"),
    [
        ("2026-11-22", "no time of day", "2026-11-22T00:00:00Z"),
        ("2026-11-22Z", "no time of day", "midnight: 2026-11-22T00:00:00Z"),
        ("01:30", "no date", "2026-11-23T01:30:00Z"),
        ("01:30:07Z", "no date", "today: 2026-11-23T01:30:07Z"),
    ],
)
def test_half_a_moment_is_refused(
    monkeypatch: pytest.MonkeyPatch, zone: None, text: str, lacks: str, reading: str
) -> None:
    """A date alone, or a time alone, is completed in the hint only."""
    in_zone(monkeypatch, "UTC")
    with refused(lacks) as error:
        parse_moment(text, now_ms=NOW_MS)
    assert error.hint is not None
    assert reading in error.hint


def test_what_was_probably_meant() -> None:
    """Seconds instead of milliseconds, a missing @, a missing «ago»."""
    with refused("milliseconds or seconds?") as error:
        parse_moment("@1795401667", now_ms=NOW_MS)
    assert error.hint is not None
    assert "2026-11-23T02:41:07.000Z" in error.hint
    with refused("is not a time") as error:
        parse_moment("1795401667999", now_ms=NOW_MS)
    assert error.hint is not None
    assert "@1795401667999" in error.hint
    with refused("is not a time") as error:
        parse_moment("2h", now_ms=NOW_MS)
    assert error.hint == "a time in the past is written '2h ago'"
