"""InitProducerId v4: an identity for an idempotent producer."""

from dataclasses import dataclass
from typing import Final

from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = ["ProducerIdentity", "decode_init_producer_id", "init_producer_id"]

API: Final = Api("InitProducerId", 22, 4, since="2.7")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerIdentity:
    """A producer id and its epoch."""

    producer_id: int
    producer_epoch: int


def encode_init_producer_id(*, transactional_id: str | None, transaction_timeout_ms: int) -> bytes:
    """The body of a request for a new identity."""
    return Writer().string(transactional_id).i32(transaction_timeout_ms).i64(-1).i16(-1).no_tags().finish()


def decode_init_producer_id(reader: Reader) -> tuple[int, ProducerIdentity]:
    """Error code and identity; MalformedError if the answer is not one."""
    reader.i32()  # throttle time
    error_code = reader.i16()
    identity = ProducerIdentity(producer_id=reader.i64(), producer_epoch=reader.i16())
    reader.tags()
    return error_code, identity


async def init_producer_id(
    client: Sender, node_id: int, *, transactional_id: str | None = None, transaction_timeout_ms: int = 60_000
) -> ProducerIdentity:
    """A new identity: from any broker, or for a transactional id from its coordinator.

    Raises:
        AccessError: IDEMPOTENT_WRITE on the cluster (or WRITE on any topic), or a right on the transactional id, is missing.
        ClusterBusyError: the broker cannot do it right now.
        UnreachableError, ClusterError: see `ask`.
    """
    body = encode_init_producer_id(transactional_id=transactional_id, transaction_timeout_ms=transaction_timeout_ms)
    error_code, identity = decode_init_producer_id(await ask(client, node_id, API, body))
    if error_code:
        raise kafka_error_to_ours(error_code, f"new producer id from broker {node_id}")
    return identity
