"""Errors of Kafka and its libraries become ours."""

import asyncio
import ssl

import aiokafka.errors
import pytest
from confluent_kafka import KafkaError, KafkaException

from mirror.errors import (
    AccessError,
    BatchDamageError,
    ClusterBusyError,
    ClusterError,
    MirrorError,
    TopicNotFoundError,
    UnreachableError,
)
from mirror.kafka.errors import ERROR_NAMES, RETRIABLE_CODES, kafka_error_to_ours


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (29, AccessError),
        (30, AccessError),
        (31, AccessError),
        (53, AccessError),
        (58, AccessError),
        (3, TopicNotFoundError),
        (100, TopicNotFoundError),
        (6, ClusterBusyError),
        (19, ClusterBusyError),
        (2, BatchDamageError),
        (87, ClusterError),
        (10, ClusterError),
        (-1, ClusterError),
        (4711, ClusterError),
    ],
)
def test_codes_have_their_class(code: int, kind: type[MirrorError]) -> None:
    """A protocol code gives its class, with place, name, number and the broker's words in the message."""
    error = kafka_error_to_ours(code, "fetch of t-0", "said so")
    assert type(error) is kind
    for part in ("fetch of t-0", f"({code})", "said so"):
        assert part in error.message


def test_a_missing_right_is_named_with_what_to_grant() -> None:
    """Access errors say which resource lacks a right."""
    assert "topic" in kafka_error_to_ours(29, "x").message
    assert "group" in kafka_error_to_ours(30, "x").message
    assert "cluster" in kafka_error_to_ours(31, "x").message
    assert "transactional id" in kafka_error_to_ours(53, "x").message
    assert all(kafka_error_to_ours(code, "x").hint for code in (29, 30, 31, 53, 58))


def test_retriable_codes_are_transient() -> None:
    """Every retriable code has a name and is transient; no other known code is."""
    assert set(ERROR_NAMES) >= RETRIABLE_CODES
    for code in ERROR_NAMES:
        assert kafka_error_to_ours(code, "x").transient == (code in RETRIABLE_CODES)


@pytest.mark.parametrize(
    "error",
    [
        aiokafka.errors.KafkaConnectionError("gone"),
        aiokafka.errors.NodeNotReadyError(),
        aiokafka.errors.RequestTimedOutError(),
        TimeoutError(),
        ConnectionResetError(),
        asyncio.IncompleteReadError(b"", 4),
        KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)),
        KafkaError(KafkaError._TRANSPORT),
    ],
)
def test_no_answer_is_unreachable(error: BaseException) -> None:
    """Whatever the library says when nobody answers."""
    assert type(kafka_error_to_ours(error, "x")) is UnreachableError


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLCertVerificationError("no"),
        aiokafka.errors.SaslAuthenticationFailed("no"),
        aiokafka.errors.UnsupportedSaslMechanismError("no"),
        aiokafka.errors.TopicAuthorizationFailedError("t"),
        KafkaException(KafkaError(KafkaError._AUTHENTICATION)),
        KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)),
    ],
)
def test_not_let_in_is_access(error: BaseException) -> None:
    """TLS, login and authorization failures of both libraries."""
    assert type(kafka_error_to_ours(error, "x")) is AccessError


def test_ours_stay_ours() -> None:
    """A MirrorError is not wrapped again."""
    error = ClusterError("x")
    assert kafka_error_to_ours(error, "y") is error
