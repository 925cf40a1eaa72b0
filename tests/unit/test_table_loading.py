"""The table of all runs of a repository: by roll-ups and footers, each object once, damage told."""

from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import zstandard

from mirror.core.coverage import build_coverage
from mirror.core.gone_segments import gone_in_table, gone_segments
from mirror.core.keys import DAY_MS, SLOT_MS, RollupKey, day_of, day_start_ms, format_rollup_key, slot_start_ms
from mirror.core.rollup import RolledObject, Rollup, decode_rollup, encode_rollup, open_rollup, rolled_object, shorten
from mirror.core.rollup_columns import decode_columns, encode_columns
from mirror.core.run_table import RUN_COLUMNS
from mirror.core.seal_times import SealTimes
from mirror.core.segment.index import GoneEntry, StartEntry, WatermarkSample
from mirror.core.segment.layout import checksum_of, encode_rollup_frame
from mirror.core.table_coverage import cover_table
from mirror.errors import DamageError, UnsupportedFormatError
from mirror.storage import table_loading
from mirror.storage.repository import Repository
from mirror.storage.table_loading import load_table
from tests.builders import T0_MS, TOPIC_ID, a_batch, a_repository, a_run_draft, a_segment, a_slice

SLOT = slot_start_ms(T0_MS)
DAY = day_start_ms(day_of(T0_MS))
START = StartEntry(
    topic="orders", topic_id=TOPIC_ID, partition=0, start_offset=10, reason="earliest", recorded_at_ms=T0_MS
)


def _put(repository: Repository, sequence: int) -> RolledObject:
    offset = sequence * 10
    key, data, index = a_segment(
        a_run_draft(a_slice(a_batch(offset, 10), start_offset=offset)),
        sealed_at_ms=T0_MS + sequence,
        sequence=sequence,
        repository_id=repository.identity.repository_id,
    )
    repository.store.put(key, data)
    return RolledObject(key=key, size_bytes=len(data), index=shorten(index))


def _keys(repository: Repository) -> tuple[list[str], list[str], int]:
    """The objects of the table, the keys that were told to be damaged, and how many objects were not looked for."""
    told: list[str] = []
    loaded = load_table(repository, on_damage=lambda key, _: told.append(key))
    table = loaded.table
    expected = build_coverage(
        (e.key, e.index) for e in repository.load_indexes(on_damage=lambda *_: None, list_all=True)
    )
    if not loaded.unlisted_objects:
        assert {pid: list(one.runs) for pid, one in cover_table(table).items()} == {
            pid: list(one.runs) for pid, one in expected.items()
        }
    return sorted(table.object_key(row) for row in range(table.object_count)), told, loaded.unlisted_objects


def _roll(repository: Repository, start_ms: int, length_ms: int, writer: str, *entries: RolledObject) -> None:
    repository.put_rollup(RollupKey(start_ms, length_ms, writer), list(entries), T0_MS)


def test_rollups_and_footers_are_one_union() -> None:
    """Whatever roll-ups there are, each object is in the table once."""
    repository = a_repository()
    first, second, third = (_put(repository, number) for number in (1, 2, 3))
    expected = [first.key, second.key, third.key]
    assert _keys(repository) == (expected, [], 0)
    _roll(repository, SLOT, SLOT_MS, "a", first)
    assert _keys(repository) == (expected, [], 0)
    _roll(repository, SLOT, SLOT_MS, "b", first, second)
    assert _keys(repository) == (expected, [], 0)
    _roll(repository, DAY, DAY_MS, "a", first, second)
    _roll(repository, DAY, DAY_MS, "b", first, second, third)
    assert _keys(repository) == (expected, [], 0)


def test_object_that_is_gone_is_told_and_nobodys_coverage() -> None:
    """Also in a finished day: the days are listed."""
    repository = a_repository()
    first, second = _put(repository, 1), _put(repository, 2)
    _roll(repository, DAY, DAY_MS, "a", first, second)
    repository.store.delete(second.key)
    assert _keys(repository) == ([first.key], [second.key], 0)


def test_beyond_the_limit_finished_days_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million objects are not listed before a plan; it is told how many were not looked for."""
    repository = a_repository()
    first, second, late = (_put(repository, number) for number in (1, 2, 3))
    _roll(repository, DAY, DAY_MS, "a", first, second)
    monkeypatch.setattr(table_loading, "LISTED_OBJECTS_MAX", 1)
    assert _keys(repository) == ([first.key, second.key], [], 2)
    repository.store.delete(format_rollup_key(RollupKey(DAY, DAY_MS, "a")))
    _roll(repository, SLOT, SLOT_MS, "a", first, second)
    assert _keys(repository) == ([first.key, second.key, late.key], [], 0), "a slot's roll-up is never believed"


def _days() -> Repository:
    """A day with one roll-up, one object with a start; one with two that overlap; one with roll-ups of slots and a late object."""
    repository = a_repository()
    entries: list[RolledObject] = []
    for number in range(1, 12):
        offset = number * 10
        at_ms = T0_MS + number // 4 * DAY_MS + number
        draft = a_run_draft(a_slice(a_batch(offset, 10), start_offset=offset))
        draft.watermarks.append(WatermarkSample(at_ms - 1, 0, offset + 10, offset + 10))
        key, data, index = a_segment(
            draft,
            sealed_at_ms=at_ms,
            sequence=number,
            starts=[START] if number == 1 else (),
            repository_id=repository.identity.repository_id,
        )
        repository.store.put(key, data)
        entries.append(rolled_object(key, len(data), index))
    _roll(repository, DAY, DAY_MS, "a", *entries[:3])
    _roll(repository, DAY + DAY_MS, DAY_MS, "a", *entries[3:6])
    _roll(repository, DAY + DAY_MS, DAY_MS, "b", *entries[4:7])
    _roll(repository, SLOT + 2 * DAY_MS, SLOT_MS, "a", *entries[7:9])
    return repository


def _said(repository: Repository) -> tuple[object, ...]:
    table = load_table(repository, on_damage=lambda *_: None).table
    rows = {table.key_of_run(row): row for row in range(table.run_count)}
    coverages = {pid: replace(one, runs=list(one.runs)) for pid, one in cover_table(table).items()}
    return coverages, dict(SealTimes(table)), {key: table.edge_samples(row) for key, row in rows.items()}


def test_unpacked_to_where_it_stays_or_copied_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever roll-ups a day has, and whether its days are believed or listed."""
    repository = _days()
    listed = _said(repository)
    assert len(listed[1]) == 11  # type: ignore[arg-type]
    assert None not in listed[2].values()  # type: ignore[attr-defined]
    monkeypatch.setattr(table_loading, "LISTED_OBJECTS_MAX", 1)
    assert load_table(repository, on_damage=lambda *_: None).unlisted_objects == 7
    assert _said(repository) == listed


def test_columns_that_contradict_themselves_are_told_once_and_footers_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where their checksum is sound, so that it shows only when the others are unpacked."""
    repository = _days()
    listed = _said(repository)
    name = format_rollup_key(RollupKey(DAY, DAY_MS, "a"))
    opened = open_rollup(repository.store.get(name), name)
    table = opened.in_columns()
    assert table is not None
    table.runs["flags"] = table.runs["flags"] | 64
    body, columns = _encoded(table.objects, table.runs, opened.stored.columns)  # type: ignore[arg-type]
    payload = msgspec.json.encode(msgspec.structs.replace(opened.stored, columns=columns))
    repository.store.put(name, encode_rollup_frame(payload, body))
    for most in (200_000, 1):
        monkeypatch.setattr(table_loading, "LISTED_OBJECTS_MAX", most)
        told: list[str] = []
        loaded = load_table(repository, on_damage=lambda key, _, told=told: told.append(key))  # type: ignore[misc]
        assert told == [name]
        assert loaded.unlisted_objects == (0 if most > 1 else 4)
        assert _said(repository) == listed


def test_damaged_and_swapped_rollups_are_told_and_footers_read() -> None:
    """A roll-up is a cache."""
    repository = a_repository()
    entry = _put(repository, 1)
    _roll(repository, DAY - DAY_MS, DAY_MS, "a")
    swapped = repository.store.get(format_rollup_key(RollupKey(DAY - DAY_MS, DAY_MS, "a")))
    names = [format_rollup_key(RollupKey(DAY, DAY_MS, writer)) for writer in ("a", "b")]
    repository.store.put(names[0], swapped)
    _roll(repository, DAY, DAY_MS, "b", entry)
    data = bytearray(repository.store.get(names[1]))
    data[40] ^= 1
    repository.store.put(names[1], bytes(data))
    assert _keys(repository) == ([entry.key], names, 0)


def test_foreign_folder_is_told() -> None:
    """A name that mirror never made."""
    repository = a_repository()
    entry = _put(repository, 1)
    repository.store.put("l0/readme/x", b"?")
    assert _keys(repository) == ([entry.key], ["l0/readme/"], 0)


def test_every_flipped_byte_of_a_rollup_is_found() -> None:
    """Columns are under a checksum, and that is under the JSON's."""
    repository = a_repository()
    entries = [_put(repository, number) for number in (1, 2)]
    data = encode_rollup(Rollup(repository_id="r", start_ms=0, length_ms=1, created_at_ms=0, objects=entries))
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        with pytest.raises((DamageError, UnsupportedFormatError)):
            decode_rollup(bytes(damaged), "x")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("object", lambda column: column + 1),
        ("object", lambda column: column[::-1]),
        ("partition", lambda column: column + 7),
        ("next_offset", lambda column: column * 0),
        ("start_offset", lambda column: column - 1000),
        ("stored_bytes", lambda column: -column),
        ("flags", lambda column: column | 64),
    ],
)
def test_columns_that_contradict_themselves_are_damage(name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """A sound checksum does not make them believed."""
    repository = a_repository()
    entries = [_put(repository, number) for number in (1, 2)]
    body, columns, others = encode_columns(entries, repository.identity.repository_id)
    assert columns is not None
    assert not others
    table = decode_columns(body, columns, "x")
    table.runs[name] = change(table.runs[name])
    assert set(table.runs) == set(RUN_COLUMNS)
    again, said = _encoded(table.objects, table.runs, columns)
    with pytest.raises(DamageError, match="contradict"):
        decode_columns(again, said, "x")


def _encoded(objects: dict, runs: dict, columns: msgspec.Struct) -> tuple[bytes, msgspec.Struct]:  # type: ignore[type-arg]
    values = [
        *objects.values(),
        *(runs[n] - runs["start_offset"] if n == "next_offset" else c for n, c in runs.items()),
    ]
    raw = b"".join(np.diff(column, prepend=np.int64(0)).astype("<i8").tobytes() for column in values)
    body = zstandard.ZstdCompressor(write_content_size=True).compress(raw)
    return body, msgspec.structs.replace(columns, stored_bytes=len(body), checksum=checksum_of((body,)))


def test_columns_of_another_size_than_they_say_are_damage() -> None:
    """Nothing is allocated by a number that the bytes do not hold."""
    repository = a_repository()
    body, columns, _ = encode_columns([_put(repository, 1)], repository.identity.repository_id)
    assert columns is not None
    for count in (0, 2, 2**40):
        with pytest.raises(DamageError):
            decode_columns(body, msgspec.structs.replace(columns, run_count=count), "x")


def test_bytes_that_no_column_claims_are_damage() -> None:
    """Nothing stands before the JSON that it does not speak of."""
    stored = Rollup(repository_id="r", start_ms=0, length_ms=1, created_at_ms=0, objects=[])
    with pytest.raises(DamageError, match="stands before"):
        decode_rollup(encode_rollup_frame(msgspec.json.encode(stored), b"hidden"), "x")


def test_gone_objects_are_found_in_a_table() -> None:
    """As in the indexes it is made of: what a later object of the writer vouches for, without what a person accepted."""
    repository = a_repository()
    for sequence, durable in ((1, 0), (3, 2), (5, 4), (6, 4)):
        key, data, index = a_segment(
            a_run_draft(a_slice(a_batch(sequence * 10, 10), start_offset=sequence * 10)),
            sealed_at_ms=T0_MS + sequence,
            sequence=sequence,
            repository_id=repository.identity.repository_id,
        )
        entry = RolledObject(
            key=key, size_bytes=len(data), index=msgspec.structs.replace(index, durable_sequence=durable)
        )
        _roll(repository, SLOT, SLOT_MS, f"r{sequence}", entry)
        repository.store.put(key, data)
    table = load_table(repository, on_damage=lambda *_: None).table
    indexes = [entry.index for entry in repository.load_indexes()]
    found = gone_in_table(table)
    assert [gone.sequence for gone in found] == [2, 4]
    assert found == gone_segments(indexes)
    table.gone.append(GoneEntry(writer="w1", sequence=2, accepted_at_ms=T0_MS))
    assert [gone.sequence for gone in gone_in_table(table)] == [4]
    assert gone_in_table(table, [("w1", 4)]) == []
