"""What a roll-up keeps of watermark samples says the same of every moment as the footers, and spares reading them."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core.coverage import CoveredRun, build_coverage
from mirror.core.cuts import observe
from mirror.core.keys import SegmentKey, format_segment_key, parse_segment_key
from mirror.core.rollup import RolledObject, Rollup, decode_rollup, decode_rollup_table, encode_rollup, rolled_object
from mirror.core.rollup_columns import decode_columns, encode_columns
from mirror.core.run_samples import pack_samples
from mirror.core.run_table import RunTable
from mirror.core.seal_times import SealTimes
from mirror.core.segment.index import RunEntry, SegmentIndex, WatermarkSample
from mirror.core.table_building import TableBuilder
from mirror.core.table_coverage import cover_table
from mirror.errors import DamageError
from tests.builders import T0_MS, a_run_entry
from tests.property.test_core_coverage import objects

_BIG = 2**63 - 1
NUMBERS = st.one_of(st.integers(0, 40), st.sampled_from([-1, -_BIG - 1, _BIG]))
SAMPLES = st.builds(WatermarkSample, st.integers(-2, 12), NUMBERS, NUMBERS, NUMBERS)


@st.composite
def sampled(draw: st.DrawFn) -> dict[str, SegmentIndex]:
    """Objects by key, whose runs have samples: mostly by time, as a clock that never goes back gives them."""
    named: dict[str, SegmentIndex] = {}
    for _, index in draw(objects()):
        runs: list[RunEntry] = []
        for run in index.runs:
            samples = draw(st.lists(SAMPLES, max_size=4))
            if draw(st.integers(0, 4)):
                samples.sort(key=lambda sample: sample.fetched_at_ms)
            runs.append(msgspec.structs.replace(run, watermarks=samples))
        key = format_segment_key(SegmentKey(T0_MS + index.sealed_at_ms, index.writer, index.sequence))
        named[key] = msgspec.structs.replace(index, runs=runs)
    return named


def _rollup(entries: Sequence[RolledObject]) -> Rollup:
    return Rollup(repository_id="r", start_ms=0, length_ms=1, created_at_ms=0, objects=list(entries))


def _table(entries: Sequence[RolledObject], split: int) -> RunTable:
    """A table of some objects one by one, of others by one roll-up and of the last by another."""
    builder = TableBuilder()
    for entry in entries[:split]:
        builder.add(parse_segment_key(entry.key), entry.size_bytes, entry.index, entry.samples)
    for part in (entries[split : split + 2], entries[split + 2 :]):
        _, table = decode_rollup_table(encode_rollup(_rollup(part)), "x")
        builder.add_table(table)
    return builder.build()


@settings(max_examples=150, deadline=None)
@given(sampled(), st.integers(0, 6), st.integers(-3, 13), st.sets(st.integers(0, 5)), st.booleans())
def test_a_moment_is_observed_as_by_footers(
    named: dict[str, SegmentIndex], split: int, at_ms: int, dropped: set[int], is_old: bool
) -> None:
    """Of every partition and moment, also without some objects, and by roll-ups of before there were samples in them."""
    entries = [rolled_object(key, 9, index) for key, index in named.items()]
    if is_old:
        entries = [msgspec.structs.replace(entry, samples=[]) for entry in entries]
    table = _table(entries, split)
    table = table.without(row for row in dropped if row < table.object_count)
    kept = {table.object_key(row) for row in range(table.object_count)}
    footers = {key: index for key, index in named.items() if key in kept}
    others = [(key, msgspec.structs.replace(index, runs=[])) for key, index in named.items() if key not in kept]
    opened: list[RunEntry] = []

    def read(piece: CoveredRun) -> list[WatermarkSample]:
        found = [
            run
            for run in footers[piece.object_key].runs
            if msgspec.structs.replace(run, watermarks=[]) == msgspec.structs.replace(piece.run, watermarks=[])
        ]
        opened.append(found[0])
        return found[0].watermarks

    times = SealTimes(table)
    by_rows = cover_table(table)
    # A run that stands twice in an object cannot be told apart by what the footer says of it.
    if any(_has_twins(index) for index in footers.values()):
        return
    for pid, coverage in build_coverage([*footers.items(), *others]).items():
        expected = observe(list(coverage.runs), times, at_ms, lambda piece: piece.run.watermarks)
        assert observe(by_rows[pid].runs, times, at_ms, read) == expected
    if not is_old:
        assert all(_is_needed(run.watermarks, at_ms) for run in opened), (
            "footers are read only for what edges leave open"
        )


def _has_twins(index: SegmentIndex) -> bool:
    plain = [msgspec.structs.replace(run, watermarks=[]) for run in index.runs]
    return any(one in plain[number + 1 :] for number, one in enumerate(plain))


def _is_needed(samples: Sequence[WatermarkSample], at_ms: int) -> bool:
    times = [sample.fetched_at_ms for sample in samples]
    return not times or any(b < a for a, b in pairwise(times)) or times[0] <= at_ms < times[-1]


@settings(max_examples=60, deadline=None)
@given(sampled())
def test_samples_go_from_rollup_to_rollup(named: dict[str, SegmentIndex]) -> None:
    """A day's roll-up is made from those of its slots: no sample gets lost, none is made up."""
    entries = [rolled_object(key, 9, named[key]) for key in sorted(named)]
    found = decode_rollup(encode_rollup(_rollup(entries)), "x")
    assert found == _rollup(entries)
    assert decode_rollup(encode_rollup(found), "x") == found


def _run(*samples: WatermarkSample) -> RunEntry:
    return msgspec.structs.replace(a_run_entry(0, 10), watermarks=list(samples))


def _encoded(*samples: WatermarkSample) -> tuple[bytes, msgspec.Struct]:
    index = SegmentIndex(
        format_version=1,
        repository_id="r",
        cluster_id="c",
        writer="w",
        sequence=1,
        sealed_at_ms=5,
        runs=[_run(*samples), a_run_entry(10, 20)],
    )
    key = format_segment_key(SegmentKey(T0_MS, "w", 1))
    body, columns, others = encode_columns([rolled_object(key, 9, index)], "r")
    assert columns is not None
    assert not others
    return body, columns


def test_rollup_without_samples_is_that_of_an_older_writer() -> None:
    """Where nothing is known the field says so, and every run is unknown."""
    body, columns = _encoded()
    assert columns.samples is None  # type: ignore[attr-defined]
    assert decode_columns(body, columns, "x").edge_samples(0) is None  # type: ignore[arg-type]


def test_samples_that_are_not_those_of_the_runs_are_damage() -> None:
    """Of another number of rows, or no frame at all: told when the roll-up is read; a wrong count: when it is asked for."""
    sample = WatermarkSample(7, 0, 10, 10)
    body, columns = _encoded(sample)
    assert decode_columns(body, columns, "x").edge_samples(0) == [sample]  # type: ignore[arg-type]
    nexts = decode_columns(body, columns, "x").runs["next_offset"]  # type: ignore[arg-type]
    for wrong in (pack_samples({0: [sample]}, nexts[:1]), b"", b"no frame"):
        with pytest.raises(DamageError, match="watermark samples"):
            decode_columns(body, msgspec.structs.replace(columns, samples=wrong), "x")  # type: ignore[arg-type]
    many = pack_samples({0: [sample, sample, sample]}, nexts)
    table = decode_columns(body, msgspec.structs.replace(columns, samples=many), "x")  # type: ignore[arg-type]
    with pytest.raises(DamageError, match="contradict"):
        table.edge_samples(0)


def test_samples_of_an_object_outside_the_columns_fit_its_runs() -> None:
    """An entry with more samples than runs is damage."""
    index = SegmentIndex(
        format_version=1,
        repository_id="other",  # so it stays with the JSON
        cluster_id="c",
        writer="w",
        sequence=1,
        sealed_at_ms=5,
        runs=[_run(WatermarkSample(7, 0, 10, 10))],
    )
    entry = rolled_object(format_segment_key(SegmentKey(T0_MS, "w", 1)), 9, index)
    assert decode_rollup(encode_rollup(_rollup([entry])), "x").objects == [entry]
    wrong = msgspec.structs.replace(entry, samples=[*entry.samples, None])
    with pytest.raises(DamageError, match="watermark samples"):
        decode_rollup(encode_rollup(_rollup([wrong])), "x")
