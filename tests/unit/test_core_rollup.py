"""Roll-ups and the repository that reads them."""

import msgspec
import pytest

from mirror.core.keys import DAY_MS, SLOT_MS, RollupKey, day_of, day_start_ms, format_rollup_key, slot_start_ms
from mirror.core.rollup import RolledObject, Rollup, decode_rollup, encode_rollup, shorten
from mirror.core.segment.index import FORMAT_VERSION, TopicObject, encode_json
from mirror.core.segment.layout import encode_object, encode_rollup_frame
from mirror.errors import DamageError, RepositoryNotFoundError, UnsupportedFormatError, WrongRepositoryError
from mirror.storage.memory import MemoryStore
from mirror.storage.repository import Repository, create_repository, open_repository
from tests.builders import CLUSTER_ID, T0_MS, TOPIC_ID, a_batch, a_repository, a_run_draft, a_segment, a_slice

SLOT = slot_start_ms(T0_MS)
DAY = day_start_ms(day_of(T0_MS))


def _put(repository: Repository, sequence: int, *, sealed_at_ms: int = T0_MS) -> RolledObject:
    offset = sequence * 10
    key, data, index = a_segment(
        a_run_draft(a_slice(a_batch(offset, 10), start_offset=offset)),
        sealed_at_ms=sealed_at_ms,
        sequence=sequence,
        repository_id=repository.identity.repository_id,
    )
    repository.store.put(key, data)
    return RolledObject(key=key, size_bytes=len(data), index=shorten(index))


def _rollup(*objects: RolledObject) -> Rollup:
    return Rollup(repository_id="r", start_ms=SLOT, length_ms=SLOT_MS, created_at_ms=T0_MS, objects=list(objects))


def test_rollup_comes_back_without_blocks_and_samples() -> None:
    """A roll-up holds what a listing of coverage needs, and no more."""
    key, data, index = a_segment(a_run_draft(a_slice(a_batch(0, 3))))
    rollup = _rollup(RolledObject(key=key, size_bytes=len(data), index=shorten(index)))
    assert decode_rollup(encode_rollup(rollup), "x") == rollup
    assert rollup.objects[0].index.runs[0].blocks is None


def test_segment_is_no_rollup() -> None:
    """One kind of object under the other's name is damage."""
    _, data, _ = a_segment(a_run_draft(a_slice(a_batch(0, 3))))
    with pytest.raises(DamageError):
        decode_rollup(data, "x")
    with pytest.raises(DamageError):
        decode_rollup(encode_rollup_frame(b"[]"), "x")


def test_feature_inside_a_rollup_is_refused() -> None:
    """An object that needs an unknown feature is refused also where only a roll-up names it."""
    key, data, index = a_segment()
    featured = msgspec.structs.replace(index, required_features=["encryption"])
    with pytest.raises(UnsupportedFormatError, match="encryption"):
        decode_rollup(encode_rollup(_rollup(RolledObject(key=key, size_bytes=len(data), index=featured))), "x")


def test_bytes_before_the_json_are_damage() -> None:
    """Nothing that no checksum covers stands in a roll-up."""
    assert decode_rollup(encode_object([], _rollup()), "x").objects == []  # type: ignore[arg-type]
    with pytest.raises(DamageError, match="stands before"):
        decode_rollup(encode_object([b"hidden"], _rollup()), "x")  # type: ignore[arg-type]


def test_rollups_and_footers_are_one_union() -> None:
    """Objects come from roll-ups where they are named and from footers where not, each once."""
    repository = a_repository()
    first, second = _put(repository, 1), _put(repository, 2, sealed_at_ms=T0_MS + 1)
    expected = [entry.key for entry in repository.load_indexes()]
    assert expected == [first.key, second.key]
    repository.put_rollup(RollupKey(SLOT, SLOT_MS, "a"), [first], T0_MS)
    assert [entry.key for entry in repository.load_indexes()] == expected
    repository.put_rollup(RollupKey(SLOT, SLOT_MS, "b"), [first, second], T0_MS)
    assert [entry.key for entry in repository.load_indexes()] == expected
    repository.put_rollup(RollupKey(DAY, DAY_MS, "a"), [first, second], T0_MS)
    assert [entry.key for entry in repository.load_indexes()] == expected


def test_object_that_came_after_its_slots_rollup_is_found() -> None:
    """A slot's roll-up is never taken as complete."""
    repository = a_repository()
    repository.put_rollup(RollupKey(SLOT, SLOT_MS, "a"), [_put(repository, 1)], T0_MS)
    late = _put(repository, 2)
    assert late.key in [entry.key for entry in repository.load_indexes()]


def test_object_that_a_rollup_names_and_that_is_gone_is_reported() -> None:
    """As long as the day is listed anyway; it is nobody's coverage then."""
    repository = a_repository()
    first, second = _put(repository, 1), _put(repository, 2, sealed_at_ms=T0_MS + 1)
    repository.put_rollup(RollupKey(SLOT, SLOT_MS, "a"), [first, second], T0_MS)
    repository.store.delete(second.key)
    reported: list[str] = []
    found = repository.load_indexes(on_damage=lambda key, _: reported.append(key))
    assert ([entry.key for entry in found], reported) == ([first.key], [second.key])
    with pytest.raises(DamageError, match="names it, but it is gone"):
        repository.load_indexes()


def test_in_a_finished_day_it_is_told_on_request() -> None:
    """A finished day is not listed otherwise; a restore wants to know before it begins."""
    repository = a_repository()
    first, second = _put(repository, 1), _put(repository, 2, sealed_at_ms=T0_MS + 1)
    repository.put_rollup(RollupKey(DAY, DAY_MS, "a"), [first, second], T0_MS)
    repository.store.delete(second.key)
    assert len(repository.load_indexes()) == 2
    with pytest.raises(DamageError, match="names it, but it is gone"):
        repository.load_indexes(list_all=True)


def test_damaged_rollup_is_replaced_by_footers() -> None:
    """A roll-up is a cache: damage costs reads, and is reported."""
    repository = a_repository()
    entry = _put(repository, 1)
    for span in (RollupKey(SLOT, SLOT_MS, "a"), RollupKey(DAY, DAY_MS, "a")):
        repository.store.put(format_rollup_key(span), b"damaged")
    reported: list[str] = []
    found = repository.load_indexes(on_damage=lambda key, _: reported.append(key))
    assert [item.key for item in found] == [entry.key]
    assert reported


def test_swapped_rollup_hides_nothing() -> None:
    """A roll-up under the name of another day is not believed."""
    repository = a_repository()
    entry = _put(repository, 1)
    other = Rollup(
        repository_id=repository.identity.repository_id,
        start_ms=DAY - DAY_MS,
        length_ms=DAY_MS,
        created_at_ms=T0_MS,
        objects=[],
    )
    repository.store.put(format_rollup_key(RollupKey(DAY, DAY_MS, "a")), encode_rollup(other))
    assert [item.key for item in repository.load_indexes()] == [entry.key]


def test_foreign_names_are_reported_or_raised() -> None:
    """A name that mirror never made is told, and stops nobody who takes the report."""
    repository = a_repository()
    entry = _put(repository, 1)
    foreign = ["l0/readme/x", f"l0/{day_of(T0_MS)}/11/notes.txt", f"index/l0/{day_of(T0_MS)}/x.idx"]
    for key in foreign:
        repository.store.put(key, b"?")
    reported: list[str] = []
    found = repository.load_indexes(on_damage=lambda key, _: reported.append(key))
    assert [item.key for item in found] == [entry.key]
    assert sorted(reported) == sorted(["l0/readme/", *foreign[1:]])
    with pytest.raises(DamageError):
        repository.load_indexes()


def test_old_days_are_left_out_on_request() -> None:
    """Days that ended before ``since_ms`` are not read."""
    repository = a_repository()
    _put(repository, 1, sealed_at_ms=T0_MS - DAY_MS)
    today = _put(repository, 2)
    assert [entry.key for entry in repository.load_indexes(since_ms=T0_MS)] == [today.key]


def test_object_of_another_repository_or_name_is_damage() -> None:
    """Objects that were copied or swapped are not believed."""
    repository = a_repository()
    key, data, _ = a_segment(sequence=1)
    repository.store.put(key, data)
    with pytest.raises(DamageError, match="belongs to repository"):
        repository.read_index(key)
    one, two = _put(repository, 3), _put(repository, 4)
    repository.store.put(one.key, repository.store.get(two.key))
    with pytest.raises(DamageError, match="swapped"):
        repository.read_index(one.key)


def test_damaged_run_names_its_offsets() -> None:
    """The checksum of a run is checked whenever it is read."""
    repository = a_repository()
    entry = _put(repository, 1)
    index, _ = repository.read_index(entry.key)
    data = bytearray(repository.store.get(entry.key))
    data[index.runs[0].position + 3] ^= 1
    repository.store.put(entry.key, bytes(data))
    with pytest.raises(DamageError, match=r"orders-0 \[10, 20\)"):
        repository.read_run(entry.key, index.runs[0])


def test_repository_belongs_to_one_cluster() -> None:
    """The second creator opens what the first made; another cluster is refused."""
    store = MemoryStore()
    with pytest.raises(RepositoryNotFoundError):
        open_repository(store)
    first = a_repository(store)
    assert create_repository(store, cluster_id=CLUSTER_ID, created_at_ms=1, created_by="x").identity == first.identity
    with pytest.raises(WrongRepositoryError):
        create_repository(store, cluster_id="other", created_at_ms=1, created_by="x")


def test_unchecked_repository_object_is_damage() -> None:
    """repository.json without its checksum was not written by mirror, or was changed."""
    repository = a_repository()
    repository.store.put("repository.json", encode_json(repository.identity))
    with pytest.raises(DamageError):
        open_repository(repository.store)


def test_newest_capture_of_each_topic_incarnation_is_listed() -> None:
    """Two incarnations of a name are two topics; of each the last capture counts."""
    repository = a_repository()
    for topic_id, captured_at_ms, partitions in ((TOPIC_ID, 1, 1), (TOPIC_ID, 2, 3), ("B" * 22, 5, 7)):
        repository.put_topic(
            TopicObject(
                format_version=FORMAT_VERSION,
                topic="orders",
                topic_id=topic_id,
                partition_count=partitions,
                replication_factor=1,
                configs={},
                captured_at_ms=captured_at_ms,
            )
        )
    listed = {(topic.topic_id, topic.partition_count) for topic in repository.list_topics()}
    assert listed == {(TOPIC_ID, 3), ("B" * 22, 7)}
