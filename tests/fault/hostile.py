"""What the tests of hostile bytes share: sound bytes to spoil, and what counts as a right answer to nonsense."""

from collections.abc import Callable

from hypothesis import settings

from mirror.core.compression import unpack
from mirror.core.record_batch import HEADER_BYTES, read_header
from mirror.core.records import decode_record, encode_batch, iterate_records
from mirror.core.segment.index import SegmentIndex
from mirror.core.segment.runs import BodyMode
from mirror.errors import MirrorError
from tests.builders import a_batch, a_marker, a_run_draft, a_segment, a_slice

SETTINGS = settings(max_examples=200, deadline=2000)


def mixed() -> list[bytes]:
    """Sound batches of every kind, one behind the other from offset 0."""
    return [
        a_batch(0, 3),
        a_batch(3, 40, codec=3),
        a_batch(43, 5, codec=4, holes=(1, 4), producer_id=9, transactional=True),
        a_marker(48, 9, commit=True),
        a_batch(49, 20, codec=1, leader_epoch=2),
        a_batch(69, 20, codec=2, leader_epoch=2),
    ]


def read_all_of(batch: bytes) -> None:
    """Everything that a reader may do with a batch."""
    header = read_header(batch)
    records = unpack(header.codec, batch[HEADER_BYTES:], limit_bytes=1 << 20)
    raw = list(iterate_records(header, records))
    for record in raw:
        decode_record(record)
    if raw:
        encode_batch(raw)


def only_typed(function: Callable[[], object]) -> None:
    """Runs it; errors of ours are the right answer to nonsense."""
    try:
        function()
    except MirrorError as error:
        assert str(error)  # noqa: PT017 - any of ours will do, but it must say something


def segment_of(mode: BodyMode) -> tuple[bytes, SegmentIndex]:
    """A sound object of three runs at most, and its index."""
    _, data, index = a_segment(
        a_run_draft(a_slice(*mixed()[:3]), a_slice(*mixed()[3:], start_offset=48)),
        a_run_draft(a_slice(a_batch(5, 9), start_offset=5, partition=1)),
        mode=mode,
    )
    return data, index
