"""The command line of a restore: rates, pairs, progress lines."""

import asyncio
import io
import time
from pathlib import Path
from typing import Any

import pytest

from mirror.cli.rates import parse_rate
from mirror.cli.restore_options import pairs, read_offsets
from mirror.cli.restore_progress import RestoreProgress, restore_progress
from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import LATEST, OffsetMode
from mirror.core.reencode import ProducibleBatch
from mirror.core.restore_mark import RestoreMark
from mirror.core.restore_plan import PartitionPlan, RestorePlan, TopicPlan, TopicState
from mirror.errors import UsageError
from mirror.kafka.batch_producer import OFFSET_UNKNOWN
from mirror.service.restore.loading import Loader, PartitionJob
from mirror.service.restore.rate import RateLimit


def _plan(*, is_exact: bool = True, **records: int) -> RestorePlan:
    def topic(name: str, count: int) -> TopicPlan:
        partition = PartitionPlan(
            partition=0, coverage=None, records=count, is_exact=is_exact, stored_bytes=count, done_records=count // 10
        )
        nothing: dict[str, Any] = {"present_configs": {}, "load_configs": {}, "final_configs": {}}
        return TopicPlan(
            topic=name,
            topic_id="A" * 22,
            target_topic=name,
            state=TopicState.UNFINISHED,
            partitions=(partition,),
            replication_factor=1,
            held=(),
            notes=(),
            mark=RestoreMark.of(LATEST, OffsetMode.EXACT, "A" * 22, name),
            **nothing,
        )

    return RestorePlan(
        target_alias="dr",
        target_cluster_id="c",
        target_bootstrap="b:1",
        target_is_source=False,
        topics=tuple(topic(name, count) for name, count in records.items()),
        point=LATEST,
        offsets=OffsetMode.EXACT,
    )


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20MB/s", 20_000_000),
        ("0.2MB/s", 200_000),
        ("40KB/s", 40_000),
        ("60kB/s", 60_000),
        ("20KiB/s", 20_480),
        ("1MiB/s", 1_048_576),
        ("1 MiB", 1_048_576),
        ("2GiB/s", 2_147_483_648),
        ("1GB/s", 1_000_000_000),
        ("500k", 500_000),
        ("1.5G", 1_500_000_000),
        ("7B/s", 7),
        ("9", 9),
    ],
)
def test_rates(text: str, rate: int) -> None:
    """The units of the configuration, with decimals, with or without /s."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0", "-1M", "1mb/s", "20Mbit/s", "1.MB", "0.1B", "1e9", "MB/s"])
def test_what_is_no_rate(text: str) -> None:
    """Said, not guessed, with the units that there are."""
    with pytest.raises(UsageError, match="--limit-rate") as refused:
        parse_rate(text)
    assert "KiB" in str(refused.value.hint)


@pytest.mark.parametrize("values", [["a"], ["=b"], ["a="], ["a=b", "a=c"]])
def test_pairs_that_cannot_be(values: list[str]) -> None:
    """A rename has two sides, and a topic one name."""
    with pytest.raises(UsageError):
        pairs("--rename", values)


def test_offsets_from_a_file(tmp_path: Path) -> None:
    """What is wrong with the file is said in words."""
    path = tmp_path / "offsets.json"
    with pytest.raises(UsageError, match=r"offsets\.json: No such file"):
        read_offsets(path)
    for text, said in (("{", "not JSON"), ("{}", "names no offset"), ('{"orders": {"0": -1}}', "is no offset")):
        path.write_text(text)
        with pytest.raises(UsageError, match=said):
            read_offsets(path)
    path.write_text('{"orders": {"1": 980}}')
    assert read_offsets(path) == {TopicPartition("orders", 1): 980}


def test_the_line_tells_rate_and_time_left() -> None:
    """What was there before does not count into the rate."""
    now_s = [0.0]
    shown = RestoreProgress(_plan(orders=1000, users=1000), clock=lambda: now_s[0])
    now_s[0] = 2.0
    shown.advanced("orders", 400, 4_000_000)
    assert shown.line() == "restoring: 600 of 2,000 records, 2.0 MB/s, 200 records/s, 7 s left"


def test_without_a_terminal_there_are_plain_lines() -> None:
    """One for each finished topic, one at the end; none at all when quiet."""
    out = io.StringIO()
    with restore_progress(_plan(orders=10), quiet=False, stream=out) as shown:
        shown.advanced("orders", 9, 100)
        shown.finished("orders")
    assert out.getvalue().splitlines()[0] == "  orders: done, 10 records"
    assert out.getvalue().splitlines()[-1].startswith("restoring: 10 of 10 records")
    silent = io.StringIO()
    with restore_progress(_plan(orders=10), quiet=True, stream=silent) as shown:
        shown.advanced("orders", 9, 100)
    assert silent.getvalue() == ""


def test_a_total_that_is_not_known_is_said_to_be_the_most() -> None:
    """Records that are dropped by their time are counted when they are read: in the end the total is what came."""
    now_s = [0.0]
    shown = RestoreProgress(_plan(orders=1000, is_exact=False), clock=lambda: now_s[0])
    now_s[0] = 2.0
    shown.advanced("orders", 400, 4_000_000)
    assert shown.line() == "restoring: 500 of at most 1,000 records, 2.0 MB/s, 200 records/s, at most 2 s left"
    shown.finished("orders")
    assert shown.line() == "restoring: 500 of 500 records, 2.0 MB/s, 200 records/s"


def test_bars_end_whole() -> None:
    """On a terminal too, with fewer records than the plan had, and with none at all; a topic that is done has no bar."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for count, loaded in ((1000, 400), (0, 0)):
        out = Terminal()
        with restore_progress(_plan(orders=count, is_exact=False), quiet=False, stream=out) as shown:
            shown.advanced("orders", loaded, 100)
            shown.finished("orders")
        last = out.getvalue().rpartition("restoring")[2]
        assert "100%" in last, out.getvalue()
        assert "orders" not in last, "its bar is gone"


async def test_a_rate_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a second's worth of bytes, the wait is about a second less the burst; the first bytes, however many, go at once."""
    begun_s = now_s = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    limit = RateLimit(1_000_000, clock=lambda: now_s)
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", sleep)
        await limit.wait(300_000)
        assert now_s == begun_s
        for _ in range(7):
            await limit.wait(50_000)
    assert now_s - begun_s == pytest.approx(0.35)


async def test_a_rate_is_kept_by_the_real_clock() -> None:
    """Without a clock of one's own it is that of the event loop."""
    limit = RateLimit(1_000_000)
    started_s = asyncio.get_running_loop().time()
    for size_bytes in (300_000, 200_000, 1):
        await limit.wait(size_bytes)
    assert 0.2 <= asyncio.get_running_loop().time() - started_s < 10


def test_a_slow_restore_shows_that_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a line comes by the clock, also while nothing is acknowledged; none comes after the end."""
    monkeypatch.setattr("mirror.cli.restore_progress._FIRST_LINE_S", 0.01)
    monkeypatch.setattr("mirror.cli.restore_progress._LINE_EVERY_S", 0.01)
    out = io.StringIO()
    with restore_progress(_plan(orders=10), quiet=False, stream=out):
        deadline_s = time.monotonic() + 5
        while out.getvalue().count("\n") < 3 and time.monotonic() < deadline_s:
            time.sleep(0.01)
    shown = out.getvalue()
    assert shown.count("restoring: 1 of 10 records, 0.0 kB/s") >= 2
    time.sleep(0.05)
    assert out.getvalue() == shown


def test_a_limited_load_tells_each_batch() -> None:
    """What is acknowledged is told while the next batch waits for its turn, not after all of them."""
    told: list[int] = []

    class Producer:
        async def send(self, topic: str, partition: int, data: bytes) -> "asyncio.Future[int]":
            landed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            landed.set_result(OFFSET_UNKNOWN)
            return landed

    class Rate:
        async def wait(self, size_bytes: int) -> None:
            told_before.append(sum(told))

    async def load() -> None:
        loader = Loader.__new__(Loader)
        loader._rate = Rate()  # type: ignore[assignment]
        loader._on_advance = lambda target, records, size_bytes: told.append(records)
        parts: dict[str, Any] = {"coverage": None, "producer": Producer()}
        job = PartitionJob(target=TopicPartition("t", 0), **parts)
        await loader._send(job, [ProducibleBatch(b"x", 2, is_stored=True, base_offset=0) for _ in range(3)])

    told_before: list[int] = []
    asyncio.run(load())
    assert told_before == [0, 2, 4]
