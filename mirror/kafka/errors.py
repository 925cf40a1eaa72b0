"""Kafka's error codes and its clients' exceptions, translated into our error tree: the only place that does it."""

import asyncio
import ssl
from typing import Final

from aiokafka import errors as aiokafka_errors
from confluent_kafka import KafkaError, KafkaException

from mirror.errors import (
    AccessError,
    BatchDamageError,
    ClusterBusyError,
    ClusterError,
    MirrorError,
    TopicNotFoundError,
    UnreachableError,
    UsageError,
)

__all__ = [
    "CONFLUENT_ACCESS_CODES",
    "ERROR_NAMES",
    "RETRIABLE_CODES",
    "error_name",
    "kafka_error_to_ours",
]

ERROR_NAMES: Final[dict[int, str]] = {
    -1: "UNKNOWN_SERVER_ERROR",
    0: "NONE",
    1: "OFFSET_OUT_OF_RANGE",
    2: "CORRUPT_MESSAGE",
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    5: "LEADER_NOT_AVAILABLE",
    6: "NOT_LEADER_OR_FOLLOWER",
    7: "REQUEST_TIMED_OUT",
    8: "BROKER_NOT_AVAILABLE",
    9: "REPLICA_NOT_AVAILABLE",
    10: "MESSAGE_TOO_LARGE",
    13: "NETWORK_EXCEPTION",
    14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR",
    17: "INVALID_TOPIC_EXCEPTION",
    18: "RECORD_LIST_TOO_LARGE",
    19: "NOT_ENOUGH_REPLICAS",
    20: "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    29: "TOPIC_AUTHORIZATION_FAILED",
    30: "GROUP_AUTHORIZATION_FAILED",
    31: "CLUSTER_AUTHORIZATION_FAILED",
    32: "INVALID_TIMESTAMP",
    33: "UNSUPPORTED_SASL_MECHANISM",
    34: "ILLEGAL_SASL_STATE",
    35: "UNSUPPORTED_VERSION",
    36: "TOPIC_ALREADY_EXISTS",
    37: "INVALID_PARTITIONS",
    38: "INVALID_REPLICATION_FACTOR",
    39: "INVALID_REPLICA_ASSIGNMENT",
    40: "INVALID_CONFIG",
    41: "NOT_CONTROLLER",
    42: "INVALID_REQUEST",
    43: "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    44: "POLICY_VIOLATION",
    45: "OUT_OF_ORDER_SEQUENCE_NUMBER",
    46: "DUPLICATE_SEQUENCE_NUMBER",
    47: "INVALID_PRODUCER_EPOCH",
    48: "INVALID_TXN_STATE",
    49: "INVALID_PRODUCER_ID_MAPPING",
    51: "CONCURRENT_TRANSACTIONS",
    52: "TRANSACTION_COORDINATOR_FENCED",
    53: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    56: "KAFKA_STORAGE_ERROR",
    58: "SASL_AUTHENTICATION_FAILED",
    59: "UNKNOWN_PRODUCER_ID",
    65: "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    73: "TOPIC_DELETION_DISABLED",
    74: "FENCED_LEADER_EPOCH",
    75: "UNKNOWN_LEADER_EPOCH",
    76: "UNSUPPORTED_COMPRESSION_TYPE",
    78: "OFFSET_NOT_AVAILABLE",
    87: "INVALID_RECORD",
    88: "UNSTABLE_OFFSET_COMMIT",
    89: "THROTTLING_QUOTA_EXCEEDED",
    90: "PRODUCER_FENCED",
    100: "UNKNOWN_TOPIC_ID",
    103: "INCONSISTENT_TOPIC_ID",
}

RETRIABLE_CODES: Final = frozenset({5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 74, 75, 78, 88, 89, 103})
"""The broker's own state is in the way; the same request may succeed later. (3 and 100 are not here: whether a topic
is still arriving or gone for good is the caller's to decide.)"""

_MISSING_RIGHT: Final[dict[int, tuple[str, str]]] = {
    29: ("a right on the topic", "grant READ and DESCRIBE (backup), or WRITE, CREATE and ALTER_CONFIGS (restore)"),
    30: ("a right on the consumer group", "grant READ on the consumer group"),
    31: ("a right on the cluster", "grant the named operation on resource type CLUSTER (kafka-acls --cluster)"),
    53: ("a right on the transactional id", "grant WRITE and DESCRIBE on the transactional id"),
    65: ("a right on the delegation token", "use credentials that may use the token"),
}
_LOGIN_CODES: Final = frozenset({33, 34, 58})
_TOPIC_GONE_CODES: Final = frozenset({3, 100})

_UNREACHABLE: Final = (
    aiokafka_errors.KafkaConnectionError,
    aiokafka_errors.NodeNotReadyError,
    aiokafka_errors.StaleMetadata,
    aiokafka_errors.RequestTimedOutError,
    aiokafka_errors.CorrelationIdError,
    aiokafka_errors.KafkaTimeoutError,
    asyncio.TimeoutError,
    asyncio.IncompleteReadError,
    OSError,
)

CONFLUENT_ACCESS_CODES: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
_CONFLUENT_UNREACHABLE_CODES: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._RESOLVE,
    }
)


def error_name(code: int) -> str:
    """Kafka's name of a protocol error code, with the number: ``NOT_LEADER_OR_FOLLOWER (6)``."""
    return f"{ERROR_NAMES.get(code, 'error')} ({code})"


def _from_code(code: int, what: str, detail: str) -> MirrorError:
    said = f"{what}: the broker answered {error_name(code)}{': ' + detail if detail else ''}"
    if code in _MISSING_RIGHT:
        right, hint = _MISSING_RIGHT[code]
        return AccessError(f"{said}; {right} is missing", hint=hint)
    if code in _LOGIN_CODES:
        return AccessError(said, hint="check the SASL mechanism, user name and password (or token) of this cluster")
    if code in _TOPIC_GONE_CODES:
        return TopicNotFoundError(said, hint="the topic was deleted, was created anew, or DESCRIBE on it is missing")
    if code in RETRIABLE_CODES:
        return ClusterBusyError(said)
    if code == 2:
        return BatchDamageError(said)
    if code == 35:
        return ClusterError(said, hint="mirror needs Apache Kafka 3.1 or newer")
    if code in (17, 37, 38, 40, 44):
        return ClusterError(said, hint="the broker's rules forbid this value; see the message above")
    return ClusterError(said)


def _from_confluent(error: KafkaError, what: str) -> MirrorError:
    code = int(error.code())
    text = str(error.str())
    if code >= -1:  # protocol errors have the broker's numbers, librdkafka's own are below -1
        return _from_code(code, what, text)
    if code in CONFLUENT_ACCESS_CODES:
        return AccessError(f"{what}: {text}", hint="check the security settings of this cluster")
    if code in _CONFLUENT_UNREACHABLE_CODES:
        return UnreachableError(f"{what}: {text}", hint="check that the brokers are up and reachable from here")
    if code == KafkaError._INVALID_ARG:
        return UsageError(f"{what}: {text}")
    if code in (KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
        return TopicNotFoundError(f"{what}: {text}")
    return ClusterError(f"{what}: {text}")


def kafka_error_to_ours(error: BaseException | KafkaError | int, what: str, detail: str = "") -> MirrorError:
    """Translate a protocol error code, an aiokafka exception or a confluent-kafka error.

    Args:
        error: what happened; a `MirrorError` comes back unchanged.
        what: what was being done and where, for example ``fetch of orders-3 from broker 2``.
        detail: the broker's own words, if it sent some.
    """
    if isinstance(error, MirrorError):
        return error
    if isinstance(error, int):
        return _from_code(error, what, detail)
    if isinstance(error, KafkaException):
        error = error.args[0]
    if isinstance(error, KafkaError):
        return _from_confluent(error, what)
    if isinstance(error, ssl.SSLError):
        said = getattr(error, "reason", None) or str(error)
        reason = getattr(error, "verify_message", "")
        detail = f" ({reason})" if reason else ""
        return AccessError(
            f"{what}: TLS failed: {said}{detail}",
            hint="check ca_file, cert_file and key_file, and that the listener speaks TLS",
        )
    if isinstance(error, _UNREACHABLE):
        reason = str(error) or type(error).__name__
        return UnreachableError(f"{what}: {reason}", hint="check that the brokers are up and reachable from here")
    if isinstance(error, aiokafka_errors.AuthenticationFailedError | aiokafka_errors.AuthenticationMethodNotSupported):
        return AccessError(f"{what}: {error}", hint="check the SASL settings of this cluster")
    if isinstance(error, aiokafka_errors.IncompatibleBrokerVersion | NotImplementedError):
        return ClusterError(f"{what}: {error}", hint="mirror needs Apache Kafka 3.1 or newer")
    if isinstance(error, aiokafka_errors.BrokerResponseError):
        return _from_code(int(error.errno), what, ", ".join(str(a) for a in error.args if isinstance(a, str)))
    return ClusterError(f"{what}: {type(error).__name__}: {error}")
