"""Headers of record batches."""

import struct

import crc32c
import pytest

from mirror.core.record_batch import (
    ATTRIBUTES_POSITION,
    CRC_POSITION,
    HEADER,
    HEADER_BYTES,
    control_type,
    read_header,
    read_varint,
    scan_batches,
)
from mirror.errors import BatchDamageError, UnsupportedFormatError
from tests.builders import T0_MS, a_batch, a_marker, with_crc


def _patched(batch: bytes, position: int, form: str, value: int) -> bytes:
    out = bytearray(batch)
    struct.pack_into(form, out, position, value)
    return bytes(out)


def test_crc32c_is_the_published_one() -> None:
    """CRC-32C gives the values of RFC 3720, appendix B.4, and the check value of the catalogue of CRCs."""
    assert crc32c.crc32c(b"123456789") == 0xE3069283
    assert crc32c.crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c.crc32c(bytes(range(32))) == 0x46DD794E


def test_header_positions_follow_from_the_struct() -> None:
    """The named byte positions are those of the packed header."""
    assert HEADER.size == HEADER_BYTES
    batch = a_batch(7)
    assert struct.unpack_from(">I", batch, CRC_POSITION)[0] == crc32c.crc32c(batch[ATTRIBUTES_POSITION:])


def test_scan_reads_all_headers_in_columns() -> None:
    """Columns hold what each header says, and positions where each batch begins."""
    batches = [a_batch(0, 3), a_batch(3, 1, codec=3, leader_epoch=4), a_batch(10, 5, holes=(4,))]
    columns = scan_batches(b"".join(batches))
    assert columns.position.tolist() == [0, len(batches[0]), len(batches[0]) + len(batches[1])]
    assert columns.batch_bytes.tolist() == [len(batch) for batch in batches]
    assert columns.column("base_offset").tolist() == [0, 3, 10]
    assert columns.next_offset.tolist() == [3, 4, 15]
    assert columns.column("leader_epoch").tolist() == [0, 4, 0]
    assert columns.column("record_count").tolist() == [3, 1, 4]
    assert columns.column("max_timestamp").tolist() == [T0_MS + 2, T0_MS + 3, T0_MS + 14]


def test_columns_equal_single_headers() -> None:
    """The columns and the one-header reader agree in every field."""
    batch = a_batch(99, 2, codec=4, producer_id=12, transactional=True, leader_epoch=3, append_time=T0_MS)
    header = read_header(batch)
    assert tuple(scan_batches(batch).headers[0].item()) == tuple(header)
    assert header.codec == 4
    assert header.has_append_time
    assert not header.is_control


def test_cut_last_batch_is_left_out_of_a_fetch_answer() -> None:
    """A fetch answer may end inside a batch; the whole ones before it are read."""
    whole = a_batch(0, 3)
    for cut in (1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 5):
        columns = scan_batches(whole + a_batch(3, 3)[:cut])
        assert len(columns) == 1
        assert columns.scanned_bytes == len(whole)


def test_cut_last_batch_is_damage_in_a_stored_run() -> None:
    """What is stored consists of whole batches."""
    with pytest.raises(BatchDamageError, match="after the last whole batch"):
        scan_batches(a_batch(0, 3) + a_batch(3, 3)[:-1], allow_partial=False)


def test_nothing_holds_no_batch() -> None:
    """An empty answer has no columns and is no error."""
    assert len(scan_batches(b"")) == 0


def test_wrong_crc_names_the_offset() -> None:
    """A flipped bit under the CRC is found, and the batch is named by its offset."""
    batch = bytearray(a_batch(40, 3))
    batch[-1] ^= 4
    with pytest.raises(BatchDamageError, match="offset 40 does not match its CRC-32C"):
        scan_batches(a_batch(0, 40) + bytes(batch))
    assert len(scan_batches(bytes(batch), check_crc=False)) == 1


def test_offset_and_epoch_are_not_under_the_crc() -> None:
    """Brokers write base offset and leader epoch after the producer computed the CRC."""
    batch = _patched(_patched(a_batch(0), 0, ">q", 77), 12, ">i", 9)
    header = read_header(bytes(batch))
    assert (header.base_offset, header.leader_epoch) == (77, 9)
    assert len(scan_batches(batch)) == 1


@pytest.mark.parametrize("magic", [0, 1])
def test_old_message_format_is_refused_by_name(magic: int) -> None:
    """Message formats v0 and v1 are named, with what to do."""
    with pytest.raises(UnsupportedFormatError, match=f"message format v{magic}") as caught:
        scan_batches(_patched(a_batch(5), 16, ">b", magic))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("position", "form", "value"),
    [(8, ">i", 48), (8, ">i", -1), (0, ">q", -1), (0, ">q", 2**63 - 1), (23, ">i", -1), (57, ">i", -1)],
    ids=["length-48", "length-negative", "offset-negative", "offset-too-large", "delta-negative", "count-negative"],
)
def test_impossible_header_is_damage(position: int, form: str, value: int) -> None:
    """Values that no broker writes are refused before anything is computed from them."""
    wrong = _patched(a_batch(5), position, form, value)
    with pytest.raises(BatchDamageError):
        scan_batches(with_crc(wrong))
    with pytest.raises(BatchDamageError):
        read_header(wrong)


def test_offsets_must_ascend() -> None:
    """A batch that begins inside the one before it is damage."""
    with pytest.raises(BatchDamageError, match="out of order: 2 follows 0"):
        scan_batches(a_batch(0, 3) + a_batch(2, 3))


def test_compacted_batch_still_covers_its_last_offset() -> None:
    """A batch whose last record was compacted away still advances next_offset."""
    header = read_header(a_batch(10, 5, holes=(3, 4)))
    assert header.next_offset == 15
    assert header.has_holes
    assert not read_header(a_batch(10, 5)).has_holes


def test_header_cut_is_damage() -> None:
    """Sixty bytes are no header."""
    with pytest.raises(BatchDamageError, match="60 of 61"):
        read_header(a_batch(0)[:60])


def test_marker_tells_commit_from_abort() -> None:
    """The type of a control record is read from its key."""
    assert control_type(a_marker(3, 1, commit=True)) == 1
    assert control_type(a_marker(3, 1, commit=False)) == 0
    with pytest.raises(BatchDamageError, match="without a type"):
        control_type(a_batch(0, 1, tails=[b"\x01\x01\x00"], control=True))


def test_varint_is_zigzag() -> None:
    """Values of the Protocol Buffers documentation."""
    for data, value in ((b"\x00", 0), (b"\x01", -1), (b"\x02", 1), (b"\x03", -2), (b"\xac\x02", 150)):
        assert read_varint(data, 0) == (value, len(data))
    assert read_varint(b"\xfe" + b"\xff" * 8 + b"\x01", 0) == (2**63 - 1, 10)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x01"])
def test_varint_that_is_none_is_damage(data: bytes) -> None:
    """It ends with its buffer, has more than 64 bits, or more than ten bytes."""
    with pytest.raises(BatchDamageError):
        read_varint(data, 0)
