"""`mirror status`, `inspect`, `init` and `repair table` on a real broker, without any worker."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from mirror.core.events import decode_event
from mirror.core.segment.index import GapEntry
from tests.integration.test_status_helpers import Site, make_site, produce
from tests.observe_builders import RepositoryBuilder

if TYPE_CHECKING:
    from tests.servers.kafka import KafkaCluster

pytestmark = pytest.mark.servers


@pytest.fixture
def prefix() -> str:
    """Unique names, so that the rules select only this test's topics."""
    return f"s{secrets.token_hex(4)}-"


@pytest.fixture
def site(kafka: "KafkaCluster", tmp_path: Path, capsys: pytest.CaptureFixture[str], prefix: str) -> Site:
    """A configuration for the shared broker and a folder, that selects the test's topics."""
    return make_site(tmp_path, kafka.bootstrap, capsys, topics=[f"{prefix}*"], exclude=["*-secret"], id=f"{prefix}w")


def test_everything_stored_is_safe(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """The first line says safe, up to now, with all counts; the exit code is 0."""
    name = topic(3, name=f"{prefix}a")
    topic(name=f"{prefix}secret")
    produce(site.bootstrap, name, 300, partition=1)
    site.back_up(name)
    code, out = site.run("status")
    first = out.splitlines()[0]
    assert code == 0
    assert first.startswith("SAFE prod restorable to ")
    assert "· 3 partitions · 0 gaps ·" in first
    assert f"{prefix}secret (excluded by rule exclude='*-secret')" in out
    code, report = site.run_json("status")
    assert (code, report["verdict"], report["exit_code"]) == (0, "SAFE", 0)
    assert {p["facts"]["position"] for p in report["partitions"]} == {0, 300}
    assert all(p["recovery_point_age_ms"] == 0 for p in report["partitions"])
    assert report["totals"]["objects"] >= 4


def test_unstored_records_date_the_recovery_point(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """Records behind the position are as old as their batch says; over the objective the exit code is 6."""
    name = topic(name=f"{prefix}a", retention_ms="3600000")
    now_ms = int(time.time() * 1000)
    produce(site.bootstrap, name, 100)
    site.back_up(name, began_ms=now_ms - 60_000)
    produce(site.bootstrap, name, 50, timestamp=now_ms - 20_000)
    code, report = site.run_json("status")
    (partition,) = report["partitions"]
    assert (code, report["verdict"]) == (6, "AT RISK"), "the headroom of one hour is below two"
    assert partition["lag_offsets"] == 50
    assert 19_000 < partition["recovery_point_age_ms"] < 60_000
    assert partition["state"] == "headroom"
    assert 3_500_000 < partition["retention_headroom_ms"] < 3_590_000
    assert partition["is_approximate"]
    produce(site.bootstrap, topic(name=f"{prefix}late", retention_ms="-1"), 1, timestamp=now_ms - 600_000)
    code, report = site.run_json("status")
    assert code == 6
    assert report["reason"].startswith(f"{prefix}late-0: it holds records and nothing of it is stored")
    assert "mirror worker" in report["next_step"]


def test_stamps_in_the_future_hide_nothing(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """Records that their producer stamped ahead are as old as what was stored last: without a worker at work nothing stays safe."""
    name = topic(name=f"{prefix}a", retention_ms="-1")
    now_ms = int(time.time() * 1000)
    produce(site.bootstrap, name, 100, timestamp=now_ms + 3_000_000)
    site.back_up(name, began_ms=now_ms - 600_000)
    assert site.run("status")[0] == 0
    produce(site.bootstrap, name, 50, timestamp=now_ms + 3_000_000)
    code, report = site.run_json("status")
    (partition,) = report["partitions"]
    assert (code, partition["state"], partition["is_approximate"]) == (6, "late", True)
    assert partition["recovery_point_age_ms"] >= now_ms - partition["facts"]["last_sealed_ms"] > 500_000
    assert "nothing was stored lately" in report["reason"]


def test_open_transaction_is_told(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """Between the last stable offset and the high watermark, with the time since when."""
    name = topic(name=f"{prefix}a", retention_ms="-1")
    produce(site.bootstrap, name, 10)
    site.back_up(name)
    producer = Producer({"bootstrap.servers": site.bootstrap, "transactional.id": secrets.token_hex(6)})
    producer.init_transactions()
    producer.begin_transaction()
    begun_ms = int(time.time() * 1000) - 120_000
    producer.produce(name, value="held back", timestamp=begun_ms)
    producer.flush()
    code, report = site.run_json("status")
    (partition,) = report["partitions"]
    assert (code, partition["state"], partition["lag_offsets"]) == (6, "late", 0)
    assert partition["blocked_since_ms"] == begun_ms
    assert "kafka-transactions" in report["next_step"]
    producer.abort_transaction()


@pytest.mark.parametrize("what", ["segment", "stray file", "topic object"])
def test_what_cannot_be_read_is_at_risk(site: Site, topic: Callable[..., str], prefix: str, what: str) -> None:
    """A damaged object of data or of a topic, or a file that mirror never wrote: at risk, counted, and `mirror verify` is the next step."""
    name = topic(name=f"{prefix}a", retention_ms="-1")
    produce(site.bootstrap, name, 100)
    site.back_up(name)
    if what == "stray file":
        site.store.put("l0/2026-11-23/11/notes.txt", b"hello")
    else:
        key = max(info.key for info in site.store.list("l0/" if what == "segment" else "topics/"))
        site.store.put(key, site.store.get(key)[:-40])
    code, report = site.run_json("status")
    assert (code, report["verdict"], report["totals"]["damaged"]) == (6, "AT RISK", 1)
    assert "1 object of the repository cannot be read" in report["reason"]
    assert "mirror verify" in report["next_step"]


def _commit(site: Site, group: str, topic: str, offset: int) -> None:
    """As a worker would: what it has stored."""
    consumer = Consumer({"bootstrap.servers": site.bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def test_a_deleted_newest_object_is_at_risk(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """The workers' committed offset says that more was stored than is there; it says nothing of records that are only new."""
    name = topic(name=f"{prefix}a", retention_ms="-1")
    produce(site.bootstrap, name, 1_000)
    builder = site.back_up(name)
    _commit(site, f"{prefix}w", name, 1_000)
    produce(site.bootstrap, name, 10, first=1_000)
    assert site.run_json("status")[1]["verdict"] == "SAFE", "what is new was never stored"
    newest = max(
        (run.next_offset, run.start_offset, entry.key)
        for entry in builder.repository.load_indexes()
        for run in entry.index.runs
    )
    site.store.delete(newest[2])
    code, report = site.run_json("status")
    (partition,) = report["partitions"]
    assert (code, report["verdict"], partition["state"]) == (6, "AT RISK", "missing")
    assert f"its newest {newest[0] - newest[1]} offsets were stored once" in report["reason"]
    assert "after a restart" in report["next_step"]
    _commit(site, f"{prefix}w", name, 9_000)
    assert site.run_json("status")[1]["verdict"] == "SAFE", "behind the end of the log: of an older incarnation"


def test_own_topics_of_another_mirror_are_left_out(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """Two mirrors on one cluster do not feed each other; the exclusion names the other one."""
    other = [topic(name=f"{prefix}m2-{what}") for what in ("sealed", "ledger-changelog", "__assignor-__leader")]
    name = topic(name=f"{prefix}a-sealed")
    produce(site.bootstrap, name, 10)
    site.back_up(name)
    code, report = site.run_json("status")
    assert {p["facts"]["topic"] for p in report["partitions"]} == {name}
    assert {report["not_covered"][one] for one in other} == {f"own topic of another mirror, {prefix}m2"}
    counted = report["uncovered_topics"]
    assert set(other) <= set(counted) <= report["not_covered"].keys()
    assert len(counted) == report["uncovered_topic_count"], "those that the text names"
    assert not [one for one in counted if one.startswith("__")]
    messages = [line["message"] for line in site.run_json("check")[1]["lines"]]
    (others,) = [text for text in messages if text.startswith("other mirrors on this cluster: ")]
    assert f"{prefix}m2" in others or " more; " in others, "the first few by name, also those of other tests"
    assert code == 0


def test_deleted_topic_is_still_stored(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """A deleted topic is listed as stored and does not count against the verdict; its new incarnation does."""
    name = topic(name=f"{prefix}a")
    produce(site.bootstrap, name, 10)
    site.back_up(name)
    admin = AdminClient({"bootstrap.servers": site.bootstrap})
    admin.delete_topics([name])[name].result(20)
    topic(name=name)
    produce(site.bootstrap, name, 5, timestamp=int(time.time() * 1000) - 300_000)
    code, report = site.run_json("status", "--partitions")
    assert code == 6
    assert [p["state"] for p in report["partitions"]] == ["not_covered"]
    assert [p["facts"]["position"] for p in report["others"]] == [10]
    assert report["verdict"] == "NOT PROTECTED"


def test_unreachable_source_shows_what_is_stored(
    tmp_path: Path, site: Site, topic: Callable[..., str], prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the cluster: what can be restored from the repository alone, exit code 6, in bounded time."""
    name = topic(name=f"{prefix}a")
    produce(site.bootstrap, name, 10)
    site.back_up(name)
    alone = make_site(tmp_path, "127.0.0.1:1", capsys)
    begun = time.monotonic()
    code, out = alone.run("status")
    assert time.monotonic() - begun < 15
    assert code == 6
    assert out.startswith("AT RISK prod restorable to about ")
    assert "not reachable" in out
    assert name in out


def test_missing_repository_is_exit_10_and_init_makes_one(site: Site) -> None:
    """status without a repository says how to make one; init makes it once and refuses another cluster's."""
    code, report = site.run_json("status")
    assert (code, report["error"]["type"]) == (10, "RepositoryNotFoundError")
    code, made = site.run_json("init")
    assert (code, made["made_place"], made["made_repository"]) == (0, True, True)
    code, again = site.run_json("init")
    assert (code, again["made_repository"], again["repository_id"]) == (0, False, made["repository_id"])
    site.store.delete("repository.json")
    RepositoryBuilder(store=site.store, cluster_id="another-cluster")
    code, report = site.run_json("init")
    assert (code, report["error"]["type"]) == (11, "WrongRepositoryError")


def test_watch_prints_one_document_per_look(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """A running watch sees objects that were added since."""
    import asyncio

    from mirror.config import load_config
    from mirror.service.status import StatusObserver
    from mirror.storage.repository import open_repository

    name = topic(name=f"{prefix}a", retention_ms="-1")
    produce(site.bootstrap, name, 100)
    builder = site.back_up(name)
    config = load_config(site.config_path, {})

    async def watch() -> tuple[int, int]:
        observer = StatusObserver(config, open_repository(site.store))
        try:
            before = await observer.look()
            produce(site.bootstrap, name, 10)
            gap = GapEntry(
                topic=name,
                topic_id=before.partitions[0].facts.topic_id,
                partition=0,
                start_offset=100,
                next_offset=110,
                reason="retention",
                detected_at_ms=int(time.time() * 1000),
            )
            builder.now_ms = int(time.time() * 1000)
            builder.put(gaps=[gap])
            after = await observer.look()
            assert after.verdict.word == "AT RISK"
            return before.partitions[0].facts.position, after.partitions[0].facts.position
        finally:
            await observer.close()

    assert asyncio.run(watch()) == (100, 110)


def test_inspect_shows_partition_and_object(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """Coverage by topic and partition, then an object of it with its batches; unknown names are no empty success."""
    name = topic(name=f"{prefix}a")
    produce(site.bootstrap, name, 500, compression_type="zstd")
    site.back_up(name)
    code, out = site.run("inspect", name)
    assert code == 0
    assert "[0, 500)" in out
    code, shown = site.run_json("inspect", f"{name}:0")
    runs = shown["partitions"][0]["runs"]
    assert (runs[0]["start_offset"], runs[-1]["next_offset"]) == (0, 500)
    code, out = site.run("inspect", f"{name}:0")
    assert runs[0]["object_key"] in out
    code, shown = site.run_json("inspect", runs[0]["object_key"], "--batches")
    batches = shown["runs"][0]["batches"]
    assert (batches[0]["base_offset"], batches[0]["codec"], batches[0]["stored_as"]) == (0, "zstd", "as fetched")
    code, out = site.run("inspect", runs[0]["object_key"], "--batches")
    assert "as fetched" in out
    assert site.run("inspect", "nowhere")[0] == 2
    assert site.run("inspect", f"{name}:7")[0] == 2
    assert site.run("inspect", "l0/2026-01-01/00/0000000000001-w-0000000001.seg")[0] == 1


def test_repair_tells_positions_to_the_internal_topic(site: Site, topic: Callable[..., str], prefix: str) -> None:
    """One event per partition, marked as repair, from the start of coverage to its position; a dry run sends none."""
    name = topic(2, name=f"{prefix}a")
    produce(site.bootstrap, name, 120, partition=1)
    site.back_up(name)
    code, report = site.run_json("repair", "table")
    assert (code, report["error"]["type"]) == (1, "TopicNotFoundError")
    sealed = topic(name=f"{prefix}w-sealed")
    code, planned = site.run_json("repair", "table", "--dry-run")
    assert (code, planned["sent"], planned["internal_topic"]) == (0, False, sealed)
    code, sent = site.run_json("repair", "table")
    assert (code, sent["sent"], sent["positions"]) == (0, True, planned["positions"])
    consumer = Consumer({"bootstrap.servers": site.bootstrap, "group.id": "x", "enable.auto.commit": False})
    consumer.assign([TopicPartition(sealed, 0, 0)])
    message = consumer.poll(20)
    assert message is not None
    event = decode_event(message.value() or b"")
    assert (event.repair, event.key) == (True, None)
    assert [(run.topic, run.partition, run.start_offset, run.next_offset) for run in event.runs] == [(name, 1, 0, 120)]
    assert consumer.poll(0.5) is None
    consumer.close()
