"""Roll-ups: the indexes of many segment objects in one, so that nothing ever reads all footers one by one.

A roll-up is a cache: it names the objects it holds, several may exist for one span, and readers take their union. It leaves out what is
only needed to open a run (blocks) and the watermark samples; both are in the object's own footer.
"""

import msgspec

from mirror.core.segment.index import FORMAT_VERSION, Count, SegmentIndex, Timestamp, decode_json, require_features
from mirror.core.segment.layout import HEADER_BYTES, check_header, decode_payload, decode_trailer, encode_rollup_frame
from mirror.errors import DamageError

__all__ = ["RolledObject", "Rollup", "decode_rollup", "encode_rollup", "narrow", "shorten"]


class RolledObject(msgspec.Struct, frozen=True, kw_only=True):
    """One segment object: its key, its size and its shortened index."""

    key: str
    size_bytes: Count
    index: SegmentIndex


class Rollup(msgspec.Struct, frozen=True, kw_only=True):
    """All level-0 objects whose names say that they were sealed in ``[start_ms, start_ms + length_ms)``."""

    format_version: Count = FORMAT_VERSION
    repository_id: str
    start_ms: Timestamp
    length_ms: Count
    created_at_ms: Timestamp
    objects: list[RolledObject]
    required_features: list[str] = []


def shorten(index: SegmentIndex) -> SegmentIndex:
    """The index without blocks and watermark samples."""
    runs = [msgspec.structs.replace(run, blocks=None, watermarks=[]) for run in index.runs]
    return msgspec.structs.replace(index, runs=runs)


def narrow(entry: RolledObject, topic: str) -> RolledObject:
    """The object with nothing in its index but what concerns one topic: of many objects that is little to keep."""
    index = entry.index
    of_topic = msgspec.structs.replace(
        index,
        runs=[run for run in index.runs if run.topic == topic],
        starts=[start for start in index.starts if start.topic == topic],
        gaps=[gap for gap in index.gaps if gap.topic == topic],
        forks=[fork for fork in index.forks if fork.topic == topic],
    )
    return msgspec.structs.replace(entry, index=of_topic)


def encode_rollup(rollup: Rollup) -> bytes:
    """The roll-up as an object."""
    return encode_rollup_frame(msgspec.json.encode(rollup))


def decode_rollup(data: bytes, where: str) -> Rollup:
    """The inverse of :func:`encode_rollup`.

    Raises:
        DamageError: the object is not a sound roll-up; it can be deleted and is made again.
        UnsupportedFormatError: a newer version.
    """
    check_header(data, where)
    trailer = decode_trailer(data, len(data), where)
    if trailer.index_position != HEADER_BYTES:
        raise DamageError(f"{where}: is not a roll-up: something stands before its JSON")
    rollup = decode_json(Rollup, decode_payload(data, trailer, where), where)
    for entry in rollup.objects:
        require_features(entry.index.format_version, entry.index.required_features, entry.key)
    return rollup
