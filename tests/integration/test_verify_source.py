"""`mirror verify --against-source` on a real broker: equal after any history, different after any damage."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from mirror.core.positions import TopicPartition
from mirror.core.records import RawRecord, encode_batch, write_varint
from mirror.core.segment.runs import BodyMode
from mirror.kafka.client import open_client
from mirror.kafka.connection import ClusterConnection
from mirror.service.verify import verify_repository
from mirror.service.verify_findings import VerifyReport
from mirror.service.verify_source import compare_with_source
from tests.integration.test_status_helpers import Site, make_site, produce
from tests.observe_builders import RepositoryBuilder, a_slice

if TYPE_CHECKING:
    from tests.servers.kafka import KafkaCluster

pytestmark = pytest.mark.servers


@pytest.fixture
def site(kafka: "KafkaCluster", tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """A configuration for the shared broker and a folder."""
    return make_site(tmp_path, kafka.bootstrap, capsys)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
def test_what_was_stored_equals_the_source(site: Site, topic: Callable[..., str], codec: str, mode: BodyMode) -> None:
    """Batches of every codec, kept or unpacked, are found equal, and every check of the bytes holds."""
    name = topic(2)
    for partition in range(2):
        produce(site.bootstrap, name, 1_000, partition=partition, compression_type=codec)
    site.back_up(name, mode=mode)
    code, report = site.run_json("verify", "--deep", "--against-source")
    assert (code, report["findings"]) == (0, [])
    assert report["counts"]["records_decoded"] == 2_000
    assert report["counts"]["source_batches_equal"] >= 20
    assert report["counts"]["source_records_compared"] == 0, "equal batches need no look at their records"


def test_transactions_are_equal(site: Site, topic: Callable[..., str]) -> None:
    """Aborted records are neither stored nor missed; markers are compared as batches."""
    name = topic()
    producer = Producer({"bootstrap.servers": site.bootstrap, "transactional.id": secrets.token_hex(6)})
    producer.init_transactions()
    for number in range(8):
        producer.begin_transaction()
        for _ in range(20):
            producer.produce(name, value=f"transaction {number}")
        producer.flush()
        if number % 3 == 1:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
    site.back_up(name)
    code, report = site.run_json("verify", "--against-source")
    assert (code, report["findings"]) == (0, [])


def test_trimmed_log_is_equal_as_far_as_it_goes(site: Site, topic: Callable[..., str]) -> None:
    """Records that only the repository still has are normal."""
    name = topic()
    produce(site.bootstrap, name, 1_000)
    site.back_up(name)
    admin = AdminClient({"bootstrap.servers": site.bootstrap})
    for future in admin.delete_records([KafkaPartition(name, 0, 450)]).values():
        future.result(20)
    code, report = site.run_json("verify", "--against-source")
    assert (code, report["findings"]) == (0, [])
    assert report["counts"]["source_batches_equal"] >= 5


def test_other_bytes_are_found_with_their_offsets(site: Site, topic: Callable[..., str]) -> None:
    """A sound repository that holds something else than the source: each differing offset, and each one that is lacking."""
    name = topic()
    produce(site.bootstrap, name, 100, compression_type="lz4")
    real = site.back_up(name, objects=1)
    topic_id = next(iter(entry.index.runs[0].topic_id for entry in real.repository.load_indexes() if entry.index.runs))
    other = RepositoryBuilder(store=_emptied(site), cluster_id=real.cluster_id)
    other.topic(name, topic_id=topic_id)
    other.start(name, topic_id=topic_id)

    def record(offset: int) -> RawRecord:
        value = f"other {offset}".encode()
        return RawRecord(offset, 1_790_000_000_000, 0, memoryview(b"\x01" + write_varint(len(value)) + value + b"\x00"))

    batch = encode_batch([record(offset) for offset in range(40)], codec=3)
    hole = encode_batch([record(99)], codec=3)
    other.put([a_slice(name, 0, 0, batch + hole, topic_id=topic_id)])
    code, report = site.run_json("verify", "--against-source")
    assert code == 5
    found = {(f["kind"], f["start_offset"], f["next_offset"]) for f in report["findings"]}
    assert found == {("source_differs", 0, 40), ("source_only", 40, 99), ("source_differs", 99, 100)}


def test_compacted_log_is_compared_record_by_record(
    new_kafka: Callable[..., "KafkaCluster"], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After compaction rewrote batches, what is left of them is compared by record, and what is gone is counted as normal."""
    import time

    from confluent_kafka.admin import NewTopic

    kafka = new_kafka(properties={"log.cleaner.backoff.ms": "200", "log.cleaner.min.cleanable.ratio": "0.01"})
    site = make_site(tmp_path, kafka.bootstrap, capsys)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    config = {"cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.01"}
    admin.create_topics([NewTopic("kv", num_partitions=1, replication_factor=1, config=config)])["kv"].result(20)
    produce(site.bootstrap, "kv", 1_000)
    site.back_up("kv")
    deadline = time.monotonic() + 40
    report: dict[str, dict[str, int]] = {}
    code = 0
    first = 1_000
    while time.monotonic() < deadline:
        time.sleep(1.0)
        produce(site.bootstrap, "kv", 10, first=first)  # rolls the segment, so that the cleaner may have it
        first += 10
        code, report = site.run_json("verify", "--against-source")
        assert (code, report["findings"]) == (0, [])
        if report["counts"]["source_records_gone"] > 500:
            break
    assert report["counts"]["source_records_gone"] > 500, "the broker did not compact in time"


def test_recreated_topic_is_not_compared(site: Site, topic: Callable[..., str]) -> None:
    """The old incarnation is told as not compared, never held against the new one."""
    name = topic()
    produce(site.bootstrap, name, 50)
    site.back_up(name)
    admin = AdminClient({"bootstrap.servers": site.bootstrap})
    admin.delete_topics([name])[name].result(20)
    topic(name=name)
    produce(site.bootstrap, name, 50, first=500)
    code, report = site.run_json("verify", "--against-source")
    assert (code, report["findings"]) == (0, [])
    assert [note["kind"] for note in report["notes"]] == ["not_compared"]


def test_repository_of_another_cluster_is_refused(site: Site, topic: Callable[..., str]) -> None:
    """Exit 11, whatever is in it."""
    name = topic()
    produce(site.bootstrap, name, 5)
    site.back_up(name)
    other = RepositoryBuilder(store=_emptied(site), cluster_id="another-cluster")
    other.topic(name)
    code, report = site.run_json("verify", "--against-source")
    assert (code, report["error"]["type"]) == (11, "WrongRepositoryError")


def test_text_names_damage_and_what_was_checked(site: Site, topic: Callable[..., str]) -> None:
    """The table names topic, partition and offsets; the last lines say which check was done."""
    name = topic()
    produce(site.bootstrap, name, 100)
    site.back_up(name, objects=1)
    code, out = site.run("verify")
    assert code == 0
    assert "SOUND" in out
    assert "producer's CRC-32C" in out
    key = next(entry.key for entry in _indexes(site) if entry.index.runs)
    body = bytearray(site.store.get(key))
    body[100] ^= 1
    (site.folder / "repository" / key).write_bytes(bytes(body))
    code, out = site.run("verify")
    assert code == 5
    assert "run_damaged" in out
    assert name in out
    assert "[0, 100)" in out


def _indexes(site: Site) -> list:  # type: ignore[type-arg]
    from mirror.storage.repository import open_repository

    return open_repository(site.store).load_indexes()


def _emptied(site: Site):  # type: ignore[no-untyped-def]
    for info in list(site.store.list("")):
        site.store.delete(info.key)
    return site.store


def test_what_the_source_holds_beyond_the_store_is_told(site: Site, topic: Callable[..., str]) -> None:
    """Records that are not stored yet are a note with their offsets, no damage."""
    name = topic()
    produce(site.bootstrap, name, 100)
    site.back_up(name)
    produce(site.bootstrap, name, 30, first=100)
    code, report = site.run_json("verify", "--against-source")
    assert (code, report["findings"]) == (0, [])
    (note,) = report["notes"]
    assert (note["kind"], note["topic"], note["partition"]) == ("not_stored", name, 0)
    assert "30 offsets [100, 130) of the source are not stored" in note["message"]


async def _compared(site: Site, builder: RepositoryBuilder, committed: dict[TopicPartition, int]) -> VerifyReport:
    report, coverage = await asyncio.to_thread(verify_repository, builder.repository, settle_seconds=0)
    async with await open_client(ClusterConnection(bootstrap_servers=(site.bootstrap,))) as client:
        await compare_with_source(builder.repository, coverage, client, report, committed=committed)
    return report


def test_a_deleted_newest_object_is_a_finding(site: Site, topic: Callable[..., str]) -> None:
    """What the workers have committed as stored must be there: alone the committed offset betrays an object that is gone from the end."""
    name = topic()
    produce(site.bootstrap, name, 1_000)
    builder = site.back_up(name)
    runs = sorted(
        (r.start_offset, r.next_offset, e.key) for e in builder.repository.load_indexes() for r in e.index.runs
    )
    committed = {TopicPartition(name, 0): 1_000}
    assert asyncio.run(_compared(site, builder, committed)).findings == []
    start_offset, next_offset, key = runs[1]
    middle = site.store.get(key)
    site.store.delete(key)
    found = {(f.kind, f.start_offset, f.next_offset) for f in asyncio.run(_compared(site, builder, committed)).findings}
    assert ("offsets_missing", start_offset, next_offset) in found
    assert not any(kind == "newest_missing" for kind, *_ in found), "a hole in the middle has a finding already"
    site.store.put(key, middle)
    site.store.delete(runs[-1][2])
    report = asyncio.run(_compared(site, builder, committed))
    assert [(f.kind, f.topic, f.start_offset, f.next_offset) for f in report.findings] == [
        ("newest_missing", name, runs[-1][0], 1_000)
    ]
    assert report.exit_code == 5
    assert not any(note.kind == "not_stored" for note in report.notes)
    of_another_incarnation = {TopicPartition(name, 0): 1_001}
    assert asyncio.run(_compared(site, builder, of_another_incarnation)).findings == []
