"""The independent judge: what the repository gives back, record by record, against what a read_committed consumer reads."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Tp

from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.records import decode_record
from mirror.service.reading import iterate_stored
from mirror.service.verify import verify_repository
from mirror.storage.repository import Repository
from tests.fault.known_load import KnownLoad
from tests.fault.worker_lab import WorkerLab

Seen = tuple[int, int, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]
"""offset, timestamp, key, value, headers"""


@dataclass(slots=True)
class Judgement:
    """What was compared."""

    partitions: int = 0
    records: int = 0
    overlap_offsets: int = 0
    gaps: int = 0
    objects: int = 0
    problems: list[str] = field(default_factory=list)


def judge(
    lab: WorkerLab, topics: Mapping[str, int], loads: list[KnownLoad] | None = None, *, deep: bool = True
) -> Judgement:
    """Compare everything that these topics hold now with what the repository holds; AssertionError lists the differences."""
    result = Judgement(objects=len(lab.objects()))
    coverage = lab.coverage()
    for topic, count in topics.items():
        topic_id = lab.topic_id(topic)
        for number in range(count):
            _judge_partition(lab, topic, coverage.get(PartitionId(str(topic_id), number)), number, result)
    for load in loads or []:
        _judge_load(lab, load, coverage, result)
    report, _ = verify_repository(lab.repository, level="deep" if deep else "checksums")
    result.problems += [f"verify: {finding}" for finding in report.findings]
    assert not result.problems, "\n".join(result.problems[:20])
    return result


def stored_records(repository: Repository, coverage: PartitionCoverage) -> Iterator[Seen]:
    """Every record of one partition as a consumer would see it, in the order of the repository."""
    for clipped in iterate_stored(repository, coverage, check_crc=True):
        if clipped.batch.header.is_control:
            continue
        for raw in clipped.records():
            record = decode_record(raw)
            yield (record.offset, record.timestamp_ms, record.key, record.value, record.headers)


def consumed_records(bootstrap: str, topic: str, partition: int, start_offset: int = 0) -> Iterator[Seen]:
    """What a read_committed consumer of librdkafka sees, to the last stable offset."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "judge",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "check.crcs": True,
            "log_level": 0,
        }
    )
    consumer.assign([Tp(topic, partition, start_offset)])
    deadline = time.monotonic() + 30.0
    try:
        while True:
            # consume() waits for the full number or the time, also when the end of the partition is among them
            messages = consumer.consume(2000, 0.2)
            assert messages or time.monotonic() < deadline, f"{topic}-{partition}: no end of the partition within 30 s"
            for message in messages:
                deadline = time.monotonic() + 30.0
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return
                    raise KafkaException(error)
                yield (
                    message.offset(),
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    tuple(message.headers() or ()),
                )
    finally:
        consumer.close()


def _judge_partition(
    lab: WorkerLab, topic: str, coverage: PartitionCoverage | None, number: int, result: Judgement
) -> None:
    name = f"{topic}-{number}"
    result.partitions += 1
    consumed = consumed_records(lab.kafka.bootstrap, topic, number)
    if coverage is None:
        first = next(consumed, None)
        if first is not None:
            result.problems.append(f"{name}: nothing is stored")
        return
    result.overlap_offsets += coverage.overlap_offsets
    result.gaps += len(coverage.gaps)
    result.problems += [f"{name}: missing {hole}" for hole in coverage.missing]
    result.problems += [f"{name}: gap {gap}" for gap in coverage.gaps]
    at = coverage.start_offset
    for piece in coverage.runs:
        if piece.start_offset != at:
            result.problems.append(f"{name}: runs leave [{at}, {piece.start_offset})")
        at = piece.next_offset
    stored = stored_records(lab.repository, coverage)
    count = 0
    for seen in consumed:
        kept = next(stored, None)
        if kept != seen:
            result.problems.append(f"{name}: stored {_short(kept)}, a consumer sees {_short(seen)}")
            return
        count += 1
    after = next(stored, None)
    if after is not None:
        result.problems.append(f"{name}: stored {_short(after)}, which no consumer sees")
    result.records += count


def _judge_load(
    lab: WorkerLab, load: KnownLoad, coverage: Mapping[PartitionId, PartitionCoverage], result: Judgement
) -> None:
    """Every confirmed record is stored once: by its own number, whatever offsets say."""
    for tp, acked in load.acked.items():
        found = coverage.get(PartitionId(str(lab.topic_id(tp.topic)), tp.partition))
        if found is None:
            if acked:
                result.problems.append(f"{tp}: {acked} confirmed records, nothing is stored")
            continue
        expected = 0
        for _, _, key, value, _ in stored_records(lab.repository, found):
            if key != str(expected).encode() or value is None or not value.startswith(_head(tp, expected)):
                result.problems.append(f"{tp}: record {key!r} is stored where {expected} was expected")
                break
            expected += 1
        if expected < acked:
            result.problems.append(f"{tp}: {expected} records stored of {acked} confirmed")


def _head(tp: TopicPartition, sequence: int) -> bytes:
    return f"{tp.topic}|{tp.partition}|{sequence}|".encode()


def _short(seen: Seen | None) -> str:
    return (
        "nothing"
        if seen is None
        else f"offset {seen[0]} time {seen[1]} key {seen[2]!r} value {(seen[3] or b'')[:40]!r}"
    )
