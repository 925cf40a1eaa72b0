"""EndTxn v3: commits or aborts a transaction. The coordinator writes the markers *after* its answer."""

from typing import Final

from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer
from mirror.kafka.wire.init_producer_id import ProducerIdentity

__all__ = ["decode_end_txn", "encode_end_txn", "end_txn"]

API: Final = Api("EndTxn", 26, 3, since="2.8")


def encode_end_txn(transactional_id: str, identity: ProducerIdentity, *, commit: bool) -> bytes:
    """The body of a request."""
    writer = Writer().string(transactional_id).i64(identity.producer_id).i16(identity.producer_epoch)
    return writer.boolean(commit).no_tags().finish()


def decode_end_txn(reader: Reader) -> int:
    """The error code; MalformedError if the answer is not one."""
    reader.i32()  # throttle time
    error_code = reader.i16()
    reader.tags()
    return error_code


async def end_txn(
    client: Sender, node_id: int, transactional_id: str, identity: ProducerIdentity, *, commit: bool
) -> int:
    """End the transaction. Returns the error code, 0 for none.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`.
    """
    return decode_end_txn(await ask(client, node_id, API, encode_end_txn(transactional_id, identity, commit=commit)))
