"""A table of runs says what the indexes say that it was made of, also after a roll-up."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core.coverage import CoveredRun, NamedGap, PartitionCoverage, build_coverage
from mirror.core.cuts import clip, hole_offsets
from mirror.core.keys import SegmentKey, format_segment_key
from mirror.core.positions import OffsetRange, PartitionId
from mirror.core.restore_plan import is_exact
from mirror.core.rollup import RolledObject, Rollup, decode_rollup, decode_rollup_table, encode_rollup, shorten
from mirror.core.run_pieces import RunPieces, are_exact
from mirror.core.run_table import RunTable
from mirror.core.seal_times import SealTimes
from mirror.core.segment.index import SegmentIndex
from mirror.core.table_building import TableBuilder
from mirror.core.table_coverage import cover_table, cover_without
from tests.builders import T0_MS
from tests.property.test_core_coverage import LAST, objects


def _named(found: Sequence[tuple[str, SegmentIndex]]) -> dict[str, SegmentIndex]:
    """The objects under names as a worker gives them."""
    return {format_segment_key(SegmentKey(T0_MS + i.sealed_at_ms, i.writer, i.sequence)): i for _, i in found}


def _table(named: dict[str, SegmentIndex], split: int) -> RunTable:
    """A table of some objects one by one and of the others by a roll-up."""
    entries = [RolledObject(key=key, size_bytes=9, index=shorten(index)) for key, index in named.items()]
    rollup = Rollup(repository_id="r", start_ms=0, length_ms=1, created_at_ms=0, objects=entries[split:])
    builder = TableBuilder()
    for entry in entries[:split]:
        index = entry.index
        builder.add(SegmentKey(T0_MS + index.sealed_at_ms, index.writer, index.sequence), 9, index)
    _, rolled = decode_rollup_table(encode_rollup(rollup), "x")
    builder.add_table(rolled)
    return builder.build()


def _values(coverages: dict[PartitionId, PartitionCoverage]) -> dict[PartitionId, PartitionCoverage]:
    return {pid: replace(coverage, runs=list(coverage.runs)) for pid, coverage in coverages.items()}


@settings(max_examples=60, deadline=None)
@given(objects(), st.integers(0, 6))
def test_coverage_of_a_table_is_that_of_the_indexes(found: list[tuple[str, SegmentIndex]], split: int) -> None:
    """Whatever overlaps, forks, gaps and epochs there are."""
    named = _named(found)
    expected = build_coverage((key, shorten(index)) for key, index in named.items())
    assert _values(cover_table(_table(named, split))) == _values(expected)


def _offsets(ranges: Iterable[CoveredRun | NamedGap | OffsetRange]) -> set[int]:
    return {offset for one in ranges for offset in range(one.start_offset, one.next_offset)}


@settings(max_examples=60, deadline=None)
@given(objects(), st.integers(0, 6), st.randoms(use_true_random=False))
def test_coverage_without_some_runs(found: list[tuple[str, SegmentIndex]], split: int, chance: Random) -> None:
    """The other copies are read; what none holds is missing, up to where the partition reached and from where it began."""
    named = _named(found)
    lost = {(key, run.start_offset) for key, index in named.items() for run in index.runs if chance.random() < 0.4}
    kept = {
        key: msgspec.structs.replace(index, runs=[run for run in index.runs if (key, run.start_offset) not in lost])
        for key, index in named.items()
    }
    others = build_coverage((key, shorten(index)) for key, index in kept.items())
    for pid, whole in cover_table(_table(named, split)).items():
        less = cover_without(whole, lost)
        other = others.get(pid)
        assert list(less.runs) == (list(other.runs) if other else [])
        assert (less.start_offset, less.next_offset) == (whole.start_offset, whole.next_offset)
        missing, others_have = _offsets(less.missing), _offsets([*less.runs, *less.gaps])
        assert not missing & others_have
        assert missing | others_have >= _offsets([*whole.runs, *whole.gaps, *whole.missing])
        assert less.position == (less.missing[0].start_offset if less.missing else whole.next_offset)


@settings(max_examples=60, deadline=None)
@given(objects(), st.integers(0, 6))
def test_rollup_with_columns_comes_back(found: list[tuple[str, SegmentIndex]], split: int) -> None:
    """What columns cannot say stays with the JSON; nothing gets lost between them."""
    named = _named(found)
    entries = [RolledObject(key=key, size_bytes=9, index=shorten(named[key])) for key in sorted(named)]
    rollup = Rollup(repository_id="r", start_ms=0, length_ms=1, created_at_ms=0, objects=entries)
    assert decode_rollup(encode_rollup(rollup), "x") == rollup


@settings(max_examples=60, deadline=None)
@given(objects(), st.integers(0, 6))
def test_seal_times_of_a_table(found: list[tuple[str, SegmentIndex]], split: int) -> None:
    """The same by key, by writer and the newest."""
    named = _named(found)
    times = SealTimes(_table(named, split))
    assert dict(times) == {key: index.sealed_at_ms for key, index in named.items()}
    assert times.newest_ms == max(times.values())
    assert times.newest_by_writer() == {"w": times.newest_ms}
    assert "l0/2026-01-01/00/1767225600000-w-0000000001.seg" not in times
    assert "elsewhere" not in times


@settings(max_examples=60, deadline=None)
@given(objects(), st.integers(0, 6), st.integers(0, LAST), st.integers(0, LAST))
def test_sums_over_pieces_are_those_of_the_values(
    found: list[tuple[str, SegmentIndex]], split: int, start_offset: int, next_offset: int
) -> None:
    """Columns answer as a loop over the pieces does; a clipped coverage is the same by either way."""
    named = _named(found)
    for coverage in cover_table(_table(named, split)).values():
        plain = replace(coverage, runs=list(coverage.runs))
        assert _values({coverage.partition_id: clip(coverage, start_offset, next_offset)}) == _values(
            {coverage.partition_id: clip(plain, start_offset, next_offset)}
        )
        for one in (coverage, plain, clip(coverage, start_offset, next_offset)):
            _check_sums(one)


def _check_sums(coverage: PartitionCoverage) -> None:
    values = list(coverage.runs)
    pieces = RunPieces.of(coverage.runs)
    assert list(pieces) == values
    assert pieces.total("record_count") == sum(piece.run.record_count for piece in values)
    assert coverage.stored_bytes == sum({id(piece.run): piece.run.stored_bytes for piece in values}.values())
    before = [-1, *(piece.next_offset for piece in values)]
    exact = [
        is_exact(piece, is_first=piece.start_offset != reached) for piece, reached in zip(values, before, strict=False)
    ]
    assert are_exact(pieces) == all(exact)
    stored = {offset for piece in values for offset in range(piece.start_offset, piece.next_offset)}
    whole = sum(
        max(0, piece.next_offset - piece.start_offset - piece.run.record_count)
        for piece in values
        if (piece.start_offset, piece.next_offset) == (piece.run.start_offset, piece.run.next_offset)
    )
    if not coverage.gaps:
        between = sum(offset not in stored for offset in range(coverage.start_offset, coverage.next_offset))
        assert hole_offsets(coverage) == whole + between
    assert np.array_equal(pieces.start_offsets, [piece.start_offset for piece in values])
