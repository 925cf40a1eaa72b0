"""Coverage against a model that looks at every offset on its own."""

from dataclasses import dataclass
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core.coverage import build_coverage
from mirror.core.positions import PartitionId
from mirror.core.rollup import RolledObject, Rollup, decode_rollup, encode_rollup, shorten
from mirror.core.segment.index import FORMAT_VERSION, ForkEntry, GapEntry, RunEntry, SegmentIndex, StartEntry
from tests.builders import T0_MS, TOPIC_ID, a_run_entry

LAST = 30
RANGES = st.tuples(st.integers(0, LAST - 1), st.integers(1, 12)).map(lambda r: (r[0], min(LAST, r[0] + r[1])))


@st.composite
def runs(draw: st.DrawFn) -> RunEntry:
    """A run with up to three leader epochs, or without any batch."""
    start_offset, next_offset = draw(RANGES)
    if draw(st.integers(0, 4)) == 0:
        epochs = draw(st.sampled_from([[], [(1, start_offset)]]))
        return a_run_entry(start_offset, next_offset, leader_epochs=epochs, batch_count=0)
    changes = sorted(draw(st.sets(st.integers(start_offset + 1, LAST), max_size=2)))
    epoch = draw(st.integers(0, 2))
    epochs = [(epoch, start_offset)]
    epochs += [(epoch + 1 + i, offset) for i, offset in enumerate(changes) if offset < next_offset]
    return a_run_entry(start_offset, next_offset, leader_epochs=epochs)


def _entry(kind: type, **fields: int | str) -> object:
    return kind(topic="orders", topic_id=TOPIC_ID, partition=0, **fields)


GAPS = st.tuples(RANGES, st.sampled_from(["retention", "deleted_records"]), st.integers(0, 9)).map(
    lambda g: _entry(GapEntry, start_offset=g[0][0], next_offset=g[0][1], reason=g[1], detected_at_ms=g[2])
)
FORKS = st.tuples(st.integers(0, LAST), st.integers(0, 3), st.integers(0, 9)).map(
    lambda f: _entry(ForkEntry, fork_offset=f[0], last_leader_epoch=f[1], detected_at_ms=f[2])
)
STARTS = st.integers(0, LAST).map(
    lambda offset: _entry(StartEntry, start_offset=offset, reason="earliest", recorded_at_ms=T0_MS)
)


@st.composite
def objects(draw: st.DrawFn) -> list[tuple[str, SegmentIndex]]:
    """A few segment objects of one partition, of both levels, in any order."""
    out = []
    for number in range(draw(st.integers(1, 6))):
        index = SegmentIndex(
            format_version=FORMAT_VERSION,
            repository_id="r",
            cluster_id="c",
            writer="w",
            sequence=number,
            sealed_at_ms=draw(st.integers(0, 9)),
            level=draw(st.sampled_from([0, 0, 0, 1])),
            runs=draw(st.lists(runs(), max_size=3)),
            starts=draw(st.lists(STARTS, max_size=1)),  # type: ignore[arg-type]
            gaps=draw(st.lists(GAPS, max_size=1)),  # type: ignore[arg-type]
            forks=draw(st.lists(FORKS, max_size=1)) if draw(st.booleans()) else [],  # type: ignore[arg-type]
        )
        out.append((f"o{number}", index))
    return draw(st.permutations(out))


@dataclass
class Model:
    """What each offset is, one by one."""

    chosen: dict[int, tuple[str, RunEntry]]
    copies: int
    cut: dict[int, int]
    gaps: dict[int, str]
    first: int
    last: int
    start: int | None


def _epoch_at(run: RunEntry, offset: int) -> int | None:
    return (
        max((first, epoch) for epoch, first in run.leader_epochs if first <= offset)[1] if run.leader_epochs else None
    )


def _is_cut(index: SegmentIndex, run: RunEntry, offset: int, forks: list[ForkEntry]) -> bool:
    for fork in forks:
        if offset >= fork.fork_offset:
            epoch = _epoch_at(run, offset)
            if epoch is None and index.sealed_at_ms <= fork.detected_at_ms:
                return True
            if epoch is not None and epoch <= fork.last_leader_epoch:
                return True
    return False


def _model(found: list[tuple[str, SegmentIndex]]) -> Model:
    forks = [fork for _, index in found for fork in index.forks]
    gaps = sorted((gap.detected_at_ms, gap.start_offset, n, gap) for n, (_, i) in enumerate(found) for gap in i.gaps)
    starts = [start.start_offset for _, index in found for start in index.starts]
    model = Model({}, 0, {}, {}, 0, 0, min(starts) if starts else None)
    for offset in range(LAST):
        holders = []
        for key, index in found:
            for run in index.runs:
                if run.start_offset <= offset < run.next_offset:
                    if _is_cut(index, run, offset, forks):
                        model.cut[offset] = model.cut.get(offset, 0) + 1
                    else:
                        holders.append((-index.level, not run.batch_count, index.sealed_at_ms, key, run))
        if holders:
            best = min(holders, key=lambda h: h[:4])
            model.chosen[offset] = (best[3], best[4])
            model.copies += len(holders) - 1
        else:
            for *_, gap in gaps:
                if gap.start_offset <= offset < gap.next_offset:
                    model.gaps[offset] = gap.reason
                    break
    known = [*model.chosen, *model.gaps]
    lower = known + ([model.start] if model.start is not None else [])
    model.first = min(lower, default=0)
    model.last = max((offset + 1 for offset in known), default=model.first)
    if model.start is not None:
        model.last = max(model.last, model.first)
    return model


@settings(max_examples=300, deadline=None)
@given(objects())
def test_coverage_is_that_of_every_offset_on_its_own(found: list[tuple[str, SegmentIndex]]) -> None:
    """Chosen runs, gaps, missing offsets, cut tails and overlap agree with a look at each offset alone, in any order of objects."""
    coverage = build_coverage(found).get(PartitionId(TOPIC_ID, 0))
    model = _model(found)
    if coverage is None:
        assert not model.chosen
        assert not model.gaps
        assert model.start is None
        return
    chosen = {o: piece for piece in coverage.runs for o in range(piece.start_offset, piece.next_offset)}
    assert {o: piece.object_key for o, piece in chosen.items()} == {o: key for o, (key, _) in model.chosen.items()}
    assert sum(piece.next_offset - piece.start_offset for piece in coverage.runs) == len(chosen), "each offset once"
    assert coverage.overlap_offsets == model.copies
    assert {o: g.reason for g in coverage.gaps for o in range(g.start_offset, g.next_offset)} == model.gaps
    cut = [o for tail in coverage.cut_tails for o in range(tail.start_offset, tail.next_offset)]
    assert {o: cut.count(o) for o in cut} == model.cut
    begin = model.start if model.start is not None else model.first
    accounted = model.chosen.keys() | model.gaps.keys()
    missing = [o for o in range(begin, model.last) if o not in accounted]
    assert [o for hole in coverage.missing for o in range(*hole)] == missing
    assert coverage.start_offset == model.first
    assert coverage.position == (missing[0] if missing else coverage.next_offset)


@settings(max_examples=100, deadline=None)
@given(objects(), st.data())
def test_more_objects_never_make_a_stored_offset_unexplained(
    found: list[tuple[str, SegmentIndex]], data: st.DataObject
) -> None:
    """Losing an object only takes: whatever is still covered was covered before, forks aside."""
    without_forks = [(key, index) for key, index in found if not index.forks]
    lost = data.draw(st.integers(0, max(0, len(without_forks) - 1)))
    fewer = [entry for number, entry in enumerate(without_forks) if number != lost]

    def covered(entries: list[tuple[str, SegmentIndex]]) -> set[int]:
        coverage = build_coverage(entries).get(PartitionId(TOPIC_ID, 0))
        pieces = coverage.runs if coverage else []
        return {o for piece in pieces for o in range(piece.start_offset, piece.next_offset)}

    assert covered(fewer) <= covered(without_forks)


@settings(max_examples=50, deadline=None)
@given(objects(), st.randoms(use_true_random=False))
def test_union_of_rollups_is_the_coverage_of_the_footers(
    found: list[tuple[str, SegmentIndex]],
    random: Random,
) -> None:
    """However objects are spread over roll-ups, also twice, the coverage is that of their own indexes."""
    rolled: list[tuple[str, SegmentIndex]] = []
    for _ in range(3):
        some = [RolledObject(key=k, size_bytes=1, index=shorten(i)) for k, i in found if random.random() < 0.6]
        rollup = Rollup(repository_id="r", start_ms=0, length_ms=1, created_at_ms=0, objects=some)
        rolled += [(entry.key, entry.index) for entry in decode_rollup(encode_rollup(rollup), "x").objects]
    names = {key for key, _ in rolled}
    rest = [(key, index) for key, index in found if key not in names]
    from_rollups = build_coverage(rolled + rest)
    from_footers = build_coverage([(key, index) for key, index in found])
    assert from_rollups == from_footers
