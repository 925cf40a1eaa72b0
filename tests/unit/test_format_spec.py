"""docs/format.md is executed: its tables and examples are held against the code."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import xxhash

from mirror.core import (
    cluster_state,
    events,
    group_checkpoint,
    keys,
    restore_record,
    rollup,
    rollup_columns,
    run_samples,
    run_table,
    snapshot,
)
from mirror.core.record_batch import HEADER as BATCH_HEADER
from mirror.core.record_batch import BatchHeader
from mirror.core.segment import blocks, index, layout
from mirror.errors import UnsupportedFormatError
from mirror.service import rolling_up
from mirror.service.backup import flusher
from mirror.storage.repository import open_repository
from tests.builders import a_batch, a_repository, a_run_draft, a_segment, a_slice

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text()
STRUCTS: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind
    for kind in (
        index.SegmentIndex,
        index.RunEntry,
        index.BlockColumns,
        index.StartEntry,
        index.GapEntry,
        index.ForkEntry,
        index.GoneEntry,
        index.TopicObject,
        index.RepositoryObject,
        rollup.Rollup,
        rollup.RolledObject,
        rollup_columns.RollupColumns,
        snapshot.Snapshot,
        snapshot.SnapshotTopic,
        snapshot.SnapshotPartition,
        snapshot.SnapshotGroup,
        snapshot.SnapshotPosition,
        group_checkpoint.GroupCheckpoint,
        group_checkpoint.CheckpointPartition,
        group_checkpoint.CheckpointTransaction,
        cluster_state.ClusterState,
        cluster_state.StateTopic,
        cluster_state.StateBroker,
        cluster_state.StateAcl,
        cluster_state.StateUser,
        cluster_state.StateQuota,
        restore_record.RestorePlanned,
        restore_record.RecordedTopic,
        restore_record.RestoreStart,
        restore_record.RestoreEnd,
        restore_record.RecordedUnreadable,
        restore_record.RestoreGroups,
        restore_record.RecordedGroup,
        restore_record.RecordedPosition,
        restore_record.RestoreState,
        restore_record.RecordedQuota,
        restore_record.OffsetMapping,
        restore_record.MappedPartition,
        restore_record.RestoreProved,
        events.SealedEvent,
        events.SealedRun,
    )
}


def _tagged(tag: str) -> dict[str, str]:
    """What follows each ``<!-- tag: name -->``: a table's lines, or the inside of a fence."""
    found: dict[str, str] = {}
    for match in re.finditer(rf"<!-- {tag}(?:: (\w+))? -->\n", TEXT):
        rest = TEXT[match.end() :]
        fenced = re.match(r"```\w*\n(.*?)```", rest, re.DOTALL)
        table = re.match(r"(?:\|.*\n)+", rest)
        block = fenced[1] if fenced else table[0] if table else ""
        assert block, f"nothing follows {match[0]!r}"
        found[match[1] or ""] = block
    return found


def _rows(table: str) -> list[list[str]]:
    lines = table.splitlines()
    assert set(lines[1]) <= set("|-"), lines[1]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines[2:]]


def _json_type(annotation: Any) -> str:
    info = msgspec.inspect.type_info(annotation)
    kinds = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    names = {
        msgspec.inspect.IntType: "integer",
        msgspec.inspect.FloatType: "number",
        msgspec.inspect.StrType: "string",
        msgspec.inspect.BytesType: "string",
        msgspec.inspect.LiteralType: "string",
        msgspec.inspect.BoolType: "boolean",
        msgspec.inspect.ListType: "array",
        msgspec.inspect.DictType: "object",
        msgspec.inspect.StructType: "object",
        msgspec.inspect.NoneType: "null",
    }
    return " or ".join(sorted((names[type(kind)] for kind in kinds), key=lambda name: name == "null"))


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_field_table_lists_exactly_the_fields(name: str) -> None:
    """Names, order, JSON types, and what is required or which default it has."""
    rows = _rows(_tagged("fields")[name])
    listed = [(field, kind, required) for field, kind, required, meaning in rows if meaning]
    expected = []
    for field in msgspec.structs.fields(STRUCTS[name]):
        default = (
            field.default_factory() if field.default is msgspec.NODEFAULT and not field.required else field.default
        )
        required = "yes" if field.required else f"default {json.dumps(default)}"
        expected.append((field.encode_name, _json_type(field.type), required))
    assert listed == expected


def test_no_field_table_is_of_something_else() -> None:
    """Every table names a type that exists, every type has its table."""
    assert set(_tagged("fields")) == set(STRUCTS)


def test_columns_of_rollups_stand_in_this_order() -> None:
    """The two tables are the columns that are written."""
    listed = {name: tuple(column for column, _ in _rows(text)) for name, text in _tagged("columns").items()}
    assert listed == {
        "objects": run_table.OBJECT_COLUMNS,
        "runs": run_table.RUN_COLUMNS,
        "samples": run_samples.SAMPLE_COLUMNS,
    }


@pytest.mark.parametrize("name", sorted(_tagged("example")))
def test_json_example_is_a_value(name: str) -> None:
    """An example decodes into the typed value, uses only fields that exist, and encodes to the same JSON."""
    text = _tagged("example")[name].encode()
    value = index.decode_json(STRUCTS[name], text, "docs/format.md")
    assert json.loads(msgspec.json.encode(value)) == json.loads(text)


@pytest.mark.parametrize("name", sorted(_tagged("checked")))
def test_checked_example_is_an_object(name: str) -> None:
    """The examples of topic objects and repository.json are such objects, checksum included."""
    data = _tagged("checked")[name].strip().encode()
    value = index.decode_checked(STRUCTS[name], data, "docs/format.md")
    assert index.encode_checked(value) == data


def test_key_examples_parse_and_format_back() -> None:
    """Every line of the listing is a key that mirror would make, and all kinds are there."""
    kinds = set()
    for key in _tagged("keys")[""].split():
        if key == keys.REPOSITORY_KEY:
            kinds.add("repository")
        elif key.startswith(keys.TOPICS_PREFIX):
            assert keys.format_topic_key(keys.parse_topic_key(key)) == key
            kinds.add("topic")
        elif key.startswith(keys.SNAPSHOTS_PREFIX):
            assert keys.format_snapshot_key(keys.parse_snapshot_key(key)) == key
            kinds.add("snapshot")
        elif key.startswith(keys.STATE_PREFIX):
            assert keys.format_state_key(keys.parse_state_key(key)) == key
            kinds.add("state")
        elif key.startswith(keys.GROUPS_PREFIX):
            assert keys.format_group_checkpoint_key(keys.parse_group_checkpoint_key(key)) == key
            kinds.add("checkpoint")
        elif key.startswith(keys.RESTORES_PREFIX):
            assert keys.format_restore_key(keys.parse_restore_key(key)) == key
            kinds.add("restore")
        elif key.startswith(keys.LEVEL_0_PREFIX):
            assert keys.format_segment_key(keys.parse_segment_key(key)) == key
            kinds.add("segment")
        else:
            parsed = keys.parse_rollup_key(key)
            assert keys.format_rollup_key(parsed) == key
            kinds.add(parsed.length_ms)
    objects = {"repository", "topic", "segment", "snapshot", "state", "checkpoint", "restore"}
    assert kinds == objects | {keys.SLOT_MS, keys.DAY_MS}


def _check_struct(name: str, sizes: list[int], *, names: list[str] | None = None) -> None:
    rows = _rows(_tagged("struct")[name])
    offset = 0
    for (listed_offset, listed_size, *_), size in zip(rows, sizes, strict=True):
        assert (int(listed_offset), int(listed_size)) == (offset, size)
        offset += size
    if names is not None:
        assert [row[2] for row in rows] == names


def _sizes(form: str) -> list[int]:
    """Sizes of the fields of a big-endian struct format."""
    letters = re.findall(r"(\d*)([a-zA-Z])", form)
    width = {"q": 8, "Q": 8, "i": 4, "I": 4, "h": 2, "H": 2, "b": 1, "B": 1}
    return [int(count) if letter == "s" else width[letter] for count, letter in letters]


def test_byte_tables_are_the_structs() -> None:
    """Offsets and sizes of header, trailer and batch header follow from the struct formats."""
    assert all(form.startswith(">") for form in (layout._HEADER.format, layout._TRAILER.format, BATCH_HEADER.format))
    _check_struct("header", _sizes(layout._HEADER.format))
    _check_struct("trailer", _sizes(layout._TRAILER.format) + _sizes(layout._TRAILER_END.format))
    _check_struct("batch", _sizes(BATCH_HEADER.format), names=list(BatchHeader._fields))


def test_entry_table_is_what_an_unpacked_block_holds() -> None:
    """Header, size and records stand where the table says."""
    rows = _rows(_tagged("struct")["entry"])
    assert [(row[0], row[1]) for row in rows] == [("0", "61"), ("61", "4"), ("65", "…")]
    batch, plain = a_batch(0, 9, codec=3), a_batch(0, 9)
    frame, raw_bytes = blocks.encode_zstd_block([memoryview(batch)], level=1, repack=True)
    content = bytes(blocks.decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes))
    assert content[:61] == batch[:61]
    assert int.from_bytes(content[61:65], "big") == len(content) - 65
    assert content[65:] == plain[61:]


def test_hex_of_the_header_is_the_header() -> None:
    """The example is what every object begins with."""
    assert bytes.fromhex(_tagged("hex")["header"]) == layout.HEADER


def test_hex_of_a_trailer_decodes() -> None:
    """The example is a trailer of an object of the size that it implies."""
    tail = bytes.fromhex(_tagged("hex")["trailer"])
    assert len(tail) == layout.TRAILER_BYTES
    position, stored_bytes = int.from_bytes(tail[:8], "big"), int.from_bytes(tail[8:12], "big")
    trailer = layout.decode_trailer(tail, position + stored_bytes + len(tail), "docs/format.md")
    assert trailer == (position, stored_bytes, int.from_bytes(tail[12:16], "big"))


def test_trailer_checksum_is_over_what_the_table_says() -> None:
    """xxh3_64 of the stored index followed by bytes 0–23 of the trailer."""
    _, data, _ = a_segment(a_run_draft(a_slice(a_batch(0, 3))))
    trailer = layout.decode_trailer(data, len(data), "x")
    covered = data[trailer.index_position : -layout.TRAILER_BYTES + 24]
    assert int.from_bytes(data[-16:-8], "big") == xxhash.xxh3_64_intdigest(covered)


def test_watermark_table_lists_the_array() -> None:
    """Index and name of each element."""
    rows = _rows(_tagged("array")["WatermarkSample"])
    assert [(row[0], row[1]) for row in rows] == [
        (str(i), n) for i, n in enumerate(index.WatermarkSample.__struct_fields__)
    ]
    assert json.loads(msgspec.json.encode(index.WatermarkSample(1, 2, 3, 4))) == [1, 2, 3, 4]


def test_commits_of_checkpoints_are_listed() -> None:
    """Index and name of each element; keys and values are base64."""
    rows = _rows(_tagged("array")["CheckpointCommit"])
    kind = group_checkpoint.CheckpointCommit
    assert [(row[0], row[1]) for row in rows] == [(str(i), n) for i, n in enumerate(kind.__struct_fields__)]
    assert json.loads(msgspec.json.encode(kind(b"key", b"v", 3, 4))) == ["a2V5", "dg==", 3, 4]


def test_constants_are_those_of_the_code() -> None:
    """Magic, sizes, limits and delays."""
    listed = {name: value.strip("`") for name, value in _rows(_tagged("constants")[""])}
    assert listed == {
        "format version": str(index.FORMAT_VERSION),
        "header magic": layout.HEADER_MAGIC.decode(),
        "trailer magic": layout.TRAILER_MAGIC.decode(),
        "header size": str(layout.HEADER_BYTES),
        "trailer size": str(layout.TRAILER_BYTES),
        "largest index": str(layout.INDEX_LIMIT_BYTES),
        "largest compressed block": str(blocks.BLOCK_LIMIT_BYTES),
        "passthrough block": str(blocks.PASSTHROUGH_BLOCK_BYTES),
        "zstd block": str(blocks.ZSTD_BLOCK_BYTES),
        "largest unpacked body": str(blocks.REPACK_LIMIT_BYTES),
        "largest unpacked block": str(blocks.REPACK_BLOCK_BYTES),
        "slot": str(keys.SLOT_MS),
        "slot roll-up delay": str(rolling_up.SLOT_GRACE_MS),
        "day roll-up delay": str(rolling_up.DAY_GRACE_MS),
        "slow put": str(int(flusher._SLOW_PUT_SECONDS * 1000)),
        "checksum of nothing": layout.checksum_of(()),
    }


def test_reasons_and_codecs_are_those_of_the_code() -> None:
    """Every gap reason and body codec of the code is named in the specification."""
    for name in (*get_args(index.GapReason), *get_args(index.BodyCodec)):
        assert f"`{name}`" in TEXT


def test_reserved_features_are_refused() -> None:
    """A name that the specification only reserves is no feature that this version knows."""
    assert "`encryption`" in TEXT
    with pytest.raises(UnsupportedFormatError):
        index.require_features(1, ["encryption"], "x")


def test_repository_object_is_stored_as_the_specification_says() -> None:
    """What create_repository puts is a checked JSON object under the listed key."""
    repository = a_repository()
    data = repository.store.get("repository.json")
    body, _, checksum = data.rpartition(b',"checksum":"xxh3_128:')
    assert checksum == xxhash.xxh3_128_hexdigest(body).encode() + b'"}'
    assert open_repository(repository.store).identity == repository.identity


def test_no_range_has_a_bare_end() -> None:
    """A bare end offset is never said: last is inclusive, next exclusive."""
    assert not re.search(r"\bend_offset\b", TEXT)
