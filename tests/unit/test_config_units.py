"""Durations and sizes as people write them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.config.units import format_duration, format_size, parse_duration_ms, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("500ms", 500),
        ("10s", 10_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("7d", 604_800_000),
        ("0s", 0),
        (" 1 s ", 1000),
    ],
)
def test_duration_is_read(text: str, expected_ms: int) -> None:
    """Each unit of time means what it says."""
    assert parse_duration_ms(text) == expected_ms


@pytest.mark.parametrize(
    "text", ["", "10", "s", "-1s", "1.5s", "10S", "1h30m", "١s", "10 sec", "9" * 5000 + "s", "1e3s"]
)
def test_wrong_duration_is_refused(text: str) -> None:
    """Whatever is not a whole number with a known unit is refused, a bare number too."""
    with pytest.raises(ValueError, match=r"unit|whole number"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("value", "expected_bytes"),
    [("64KiB", 65_536), ("32MiB", 33_554_432), ("1GB", 10**9), ("1kB", 1000), ("7", 7), (12, 12), ("5B", 5), ("0", 0)],
)
def test_size_is_read(value: str | int, expected_bytes: int) -> None:
    """Binary and decimal units differ, a bare number is bytes."""
    assert parse_size_bytes(value) == expected_bytes


@pytest.mark.parametrize("value", ["", "MiB", "1Mb", "1mib", "-1", -1, "1.5GiB", "1 Mi B", "0x10"])
def test_wrong_size_is_refused(value: str | int) -> None:
    """Bits, wrong case, fractions and negative sizes are refused."""
    with pytest.raises(ValueError, match=r"unit|whole number|negative"):
        parse_size_bytes(value)


@given(st.integers(min_value=0, max_value=10**14))
def test_duration_round_trip(duration_ms: int) -> None:
    """The spelling of a duration is exact."""
    assert parse_duration_ms(format_duration(duration_ms)) == duration_ms


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_size_round_trip(size_bytes: int) -> None:
    """The spelling of a size is exact."""
    assert parse_size_bytes(format_size(size_bytes)) == size_bytes


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    """No text makes the parsers raise anything but ValueError."""
    for parse in (parse_duration_ms, parse_size_bytes):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0
