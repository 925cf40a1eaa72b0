"""ApiVersions v3: the features that a cluster has settled on, its metadata version among them."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

from aiokafka import errors as aiokafka_errors
from aiokafka.protocol.api import ResponseHeader_v0

from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, RawRequest, Sender
from mirror.kafka.wire.codec import Reader, Writer

__all__ = ["decode_features", "finalized_features"]

API: Final = Api("ApiVersions", 18, 3, since="2.4")

_FINALIZED_FEATURES_TAG: Final = 2


class _Request(RawRequest):
    """The answer to this one request has the old header, so that clients of every version can read it."""

    __slots__ = ()

    def parse_response_header(self, frame: BytesIO) -> Any:
        """Read the response header; the frame is left at the body."""
        return ResponseHeader_v0.decode(frame)


def decode_features(reader: Reader) -> tuple[int, dict[str, int]]:
    """Error code and the level of each finalized feature; MalformedError if the answer is not one."""
    error_code = reader.i16()

    def skip_api(source: Reader) -> None:
        source.raw(6)
        source.tags()

    def read_feature(source: Reader) -> tuple[str, int]:
        found = source.string(), source.i16()
        source.i16()  # the least level
        source.tags()
        return found

    reader.array(skip_api, least_item_bytes=7)
    reader.i32()  # throttle time
    raw = reader.tags().get(_FINALIZED_FEATURES_TAG)
    features = [] if raw is None else Reader(raw).array(read_feature, least_item_bytes=6)
    return error_code, dict(features)


async def finalized_features(client: Sender, node_id: int) -> Mapping[str, int]:
    """Levels by feature: ``{"metadata.version": 27}``.

    Raises:
        UnreachableError, AccessError, ClusterError: the broker does not tell.
    """
    body = Writer().string("mirror").string("1").no_tags().finish()
    what = f"features from broker {node_id}"
    try:
        frame = await client.send(node_id, _Request(API, body), group=0)
    except (aiokafka_errors.KafkaError, OSError, EOFError, TimeoutError, KeyError) as error:
        problem = error if not isinstance(error, KeyError) else aiokafka_errors.KafkaConnectionError("closed")
        raise kafka_error_to_ours(problem, what) from error
    error_code, features = decode_features(Reader(frame))
    if error_code:
        raise kafka_error_to_ours(error_code, what)
    return features
