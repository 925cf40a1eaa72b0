"""`mirror inspect` on small repositories: coverage with everything that can be in it, and the batches of an object."""

import pytest

from mirror.core.segment.index import ForkEntry, GapEntry
from mirror.errors import DamageError, NoMatchError, ObjectNotFoundError
from mirror.service.inspect import inspect_object, inspect_topic, list_batches
from tests.observe_builders import T0_MS, TOPIC_ID, RepositoryBuilder, a_batch, a_repository, a_slice


def test_partitions_of_all_incarnations_are_shown() -> None:
    """A topic that was made anew has both incarnations, each with its own offsets."""
    builder, _ = a_repository(objects=2)
    other = "BBBBBBBBBBBBBBBBBBBBBB"
    builder.start("orders", topic_id=other)
    builder.put([a_slice("orders", 0, 0, a_batch(0, 7), topic_id=other)])
    found = inspect_topic(builder.repository, "orders")
    assert [(c.partition_id.topic_id, c.partition_id.partition, c.position) for c in found] == [
        (TOPIC_ID, 0, 40),
        (TOPIC_ID, 1, 40),
        (other, 0, 7),
    ]
    assert [c.position for c in inspect_topic(builder.repository, "orders", 1)] == [40]


def test_gaps_forks_and_overlap_are_in_the_coverage() -> None:
    """Everything that explains a partition."""
    builder = RepositoryBuilder()
    builder.start("t")
    builder.put([a_slice("t", 0, 0, a_batch(0, 10))])
    builder.put([a_slice("t", 0, 0, a_batch(0, 10))])
    common = {"topic": "t", "topic_id": TOPIC_ID, "partition": 0, "detected_at_ms": T0_MS + 3600_000}
    builder.put(gaps=[GapEntry(start_offset=10, next_offset=12, reason="retention", **common)])  # type: ignore[arg-type]
    builder.put([a_slice("t", 0, 12, a_batch(12, 8))])
    builder.put(forks=[ForkEntry(fork_offset=15, last_leader_epoch=0, **common)])  # type: ignore[arg-type]
    (coverage,) = inspect_topic(builder.repository, "t", 0)
    assert coverage.overlap_offsets == 10
    assert [(gap.start_offset, gap.next_offset, gap.reason) for gap in coverage.gaps] == [(10, 12, "retention")]
    assert [(cut.start_offset, cut.next_offset) for cut in coverage.cut_tails] == [(15, 20)]
    assert coverage.position == 15


def test_unknown_topic_names_what_is_there() -> None:
    """Never an empty success."""
    builder, _ = a_repository(objects=1)
    with pytest.raises(NoMatchError) as caught:
        inspect_topic(builder.repository, "order")
    assert caught.value.hint == "stored topics: orders"


def test_unknown_partition_names_those_that_are_stored() -> None:
    """Ranges of them, not the topics: the topic was right."""
    builder, _ = a_repository(objects=1)
    with pytest.raises(NoMatchError, match="nothing is stored of orders:9") as caught:
        inspect_topic(builder.repository, "orders", 9)
    assert caught.value.hint == "stored partitions of orders: 0–1"
    builder.put([a_slice("orders", 4, 0, a_batch(0, 7))])
    with pytest.raises(NoMatchError) as caught:
        inspect_topic(builder.repository, "orders", 9)
    assert caught.value.hint == "stored partitions of orders: 0–1, 4"


def test_damaged_object_is_reported_and_left_out() -> None:
    """With somebody to take the report the rest is shown; without, the damage is raised."""
    builder, keys = a_repository(objects=3)
    builder.store.put(keys[1], builder.store.get(keys[1])[:-1])
    told: list[str] = []
    found = inspect_topic(builder.repository, "orders", 0, on_damage=lambda key, _: told.append(key))
    assert told == [keys[1]]
    assert [tuple(hole) for hole in found[0].missing] == [(20, 40)]
    with pytest.raises(DamageError):
        inspect_topic(builder.repository, "orders", 0)


@pytest.mark.parametrize(("mode", "stored_as"), [("passthrough", "as fetched"), ("zstd", "unpacked")])
def test_batches_of_an_object_are_listed(mode: str, stored_as: str) -> None:
    """Headers as the producer wrote them, whatever became of the bodies."""
    builder, keys = a_repository(objects=2, mode=mode)  # type: ignore[arg-type]
    view = inspect_object(builder.repository, keys[1])
    assert [run.partition for run in view.index.runs] == [0, 1]
    lines = list_batches(builder.repository, keys[1], view.index.runs[0])
    assert [(line.base_offset, line.next_offset, line.codec) for line in lines] == [(20, 30, "lz4"), (30, 40, "zstd")]
    assert {line.stored_as for line in lines} == {stored_as}


def test_missing_object_is_said() -> None:
    """An unknown key is an error, not an empty object."""
    builder, keys = a_repository(objects=1)
    builder.store.delete(keys[0])
    with pytest.raises(ObjectNotFoundError):
        inspect_object(builder.repository, keys[0])
