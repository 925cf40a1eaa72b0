"""The settings of every side, in one place: the report prints them."""

from typing import Any

from bench import mirror_maker
from bench.sides import consumer, producer

__all__ = ["AS_FETCHED", "CONSUMER", "FAUST", "FAUST_RECORDS", "MIRROR_MAKER", "PRODUCER", "REPACKED"]

_FLUSH = {"flush_interval": '"1s"', "groups": '"off"'}  # the other sides read one topic and nothing else

AS_FETCHED: dict[str, str] = {**_FLUSH, "body_codec": '"passthrough"'}
REPACKED: dict[str, str] = {**_FLUSH, "body_codec": '"zstd"', "zstd_level": "3"}
CONSUMER: dict[str, Any] = {"call": f"consume(num_messages={consumer.BATCH_MESSAGES})", **consumer.SETTINGS}
PRODUCER: dict[str, Any] = {"call": "produce", **producer.SETTINGS}
FAUST: dict[str, Any] = {"agent": "async for value in stream", "value_serializer": "raw", "store": "memory://"}
FAUST_RECORDS = 200_000
MIRROR_MAKER: dict[str, Any] = {
    "class": mirror_maker.MIRROR_MAKER_CLASS,
    "heap": mirror_maker.HEAP,
    **mirror_maker.SETTINGS,
}
