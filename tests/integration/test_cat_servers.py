"""`mirror cat` on what a real broker gave shows what a read_committed consumer of another library sees there."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from mirror.cli.__main__ import main
from mirror.core.moments import format_moment
from mirror.core.record_filter import RecordFilter
from mirror.service.cat import RecordSearch
from mirror.service.cat_choice import CatSelection, choose
from mirror.storage.memory import MemoryStore
from mirror.storage.opening import open_store
from mirror.storage.repository import Repository
from tests.capture import capture
from tests.restoring import Seen, consume_all

NOW_MS = time.time_ns() // 1_000_000
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def _produce(bootstrap: str, topic: str, codec: str) -> None:
    """Plain records with times in no order, a committed and an aborted transaction."""
    dice = random.Random(codec)
    options = {"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 20}
    plain = Producer(options)
    for number in range(100):
        plain.produce(
            topic,
            partition=number % 2,
            key=dice.choice([None, b"", b"k%d" % (number % 7)]),
            value=dice.choice([None, b"\xff\x00", b"value %d" % number * 9]),
            headers=[("a", None), ("a", b"1"), ("ü", b"")] if number % 3 else [],
            timestamp=NOW_MS - dice.randrange(100_000),
        )
    assert plain.flush(30) == 0
    in_transaction = Producer({**options, "transactional.id": f"{topic}-{codec}"})
    in_transaction.init_transactions(20)
    for number in range(2):
        in_transaction.begin_transaction()
        for n in range(20):
            in_transaction.produce(topic, partition=n % 2, key=b"tx", value=b"%d" % number, timestamp=NOW_MS - n)
        assert in_transaction.flush(20) == 0  # librdkafka fails to abort what it is about to send
        if number:
            in_transaction.abort_transaction(20)
        else:
            in_transaction.commit_transaction(20)


def _cat(repository: Repository, topic: str, **of_filter: Any) -> list[Seen]:
    selection = CatSelection(topic=topic, filter=RecordFilter(**of_filter))
    search = RecordSearch(repository, choose(repository, selection), selection)
    found = [Seen(one.partition, *_as_judged(one.record)) for one in search.records()]
    assert not search.report.is_damaged
    return sorted(found, key=lambda record: record[:2])


def _as_judged(record: Any) -> tuple[Any, ...]:
    return record.offset, record.key, record.value, record.headers, record.timestamp_ms


@pytest.mark.parametrize("time_type", ["CreateTime", "LogAppendTime"])
@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
async def test_cat_shows_what_a_consumer_sees(kafka: Any, topic: Callable[..., str], time_type: str, mode: Any) -> None:
    """In every codec; by either kind of time, at many moments, both ends included."""
    name = topic(2, message_timestamp_type=time_type)
    for codec in CODECS:
        await asyncio.to_thread(_produce, kafka.bootstrap, name, codec)
    kept = await capture(kafka.bootstrap, [name], MemoryStore(), mode=mode, slice_bytes=4000, object_bytes=15_000)
    seen = await asyncio.to_thread(consume_all, kafka.bootstrap, name)
    assert len(seen) == 5 * 120
    assert _cat(kept.repository, name) == seen
    for record in random.Random(mode).sample(seen, 12):
        moment_ms = record.timestamp_ms
        assert _cat(kept.repository, name, since_ms=moment_ms) == [s for s in seen if s.timestamp_ms >= moment_ms]
        assert _cat(kept.repository, name, until_ms=moment_ms) == [s for s in seen if s.timestamp_ms <= moment_ms]
        if record.key is not None:
            assert _cat(kept.repository, name, key=record.key) == [s for s in seen if s.key == record.key]


async def test_the_command_on_minio(
    kafka: Any, minio: Any, bucket: str, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any cluster in the configuration: the bad record by its key, with few of many objects opened."""
    name = topic(1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "batch.num.messages": 50})
    for number in range(2000):
        value = b'{"state":"%s"}' % (b"broken" if number == 1777 else b"ok")
        producer.produce(name, key=b"id-%d" % number, value=value, timestamp=NOW_MS + number * 1000)
    assert producer.flush(30) == 0
    store = open_store(f"s3://{bucket}/r", endpoint=minio.url, access_key=minio.access_key, secret_key=minio.secret_key)
    await capture(kafka.bootstrap, [name], store, slice_bytes=2000, object_bytes=4000)
    config = tmp_path / "mirror.toml"
    config.write_text(
        f'[repositories.main]\nurl = "s3://{bucket}/r"\nendpoint = "{minio.url}"\naccess_key = "{minio.access_key}"\n'
        f'secret_key = {{ file = "{tmp_path}/secret" }}\n'
    )
    (tmp_path / "secret").write_text(minio.secret_key)
    (tmp_path / "secret").chmod(0o600)
    since = format_moment(NOW_MS + 1_700_000)
    capsys.readouterr()
    for search in (["--key", "id-1777"], ["--grep", "broken"], ["--grep", "^id-17{3}$"]):
        args = ["--config", str(config), "cat", name, "--since", since, *search, "--limit", "1", "--json"]
        assert await asyncio.to_thread(main, args) == 0
        out, err = capsys.readouterr()
        (record,) = map(json.loads, out.splitlines())
        assert (record["offset"], record["value"]) == (1777, '{"state":"broken"}')
        summary = json.loads(err)
        assert summary["objects_in_all"] > 10
        assert summary["objects"] <= 4
