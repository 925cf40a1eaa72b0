"""A plan over a million objects: how long a person waits for it, and how much memory it takes.

The repository is made, not backed up: an object every ten seconds for 116 days, each with a run of one of 1,000 partitions in turn, known
by the roll-ups of their days. The objects around the moment that is asked for are real, since a plan opens their footers and batches.
"""

import contextlib
import json
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from bench.children import BenchError
from bench.clients import cluster_id, kafka_admin
from bench.compare import Result
from bench.deployment import Deployment
from bench.stack import BenchStack
from bench.topics import delete_topics
from mirror.core.keys import DAY_MS, RollupKey, SegmentKey, format_segment_key
from mirror.core.moments import format_moment
from mirror.core.rollup import RolledObject, rolled_object
from mirror.core.segment.index import FORMAT_VERSION, RunEntry, SegmentIndex, StartEntry, TopicObject, WatermarkSample
from mirror.core.segment.layout import HEADER_BYTES, encode_object
from mirror.core.segment.runs import RunDraft, encode_run
from mirror.core.slices import FetchSlice, read_slice
from mirror.storage.repository import Repository
from tests.builders import a_batch, watermarks

__all__ = ["OBJECTS", "PLANNING", "QUICK_OBJECTS", "measure_planning"]

PLANNING = "plan over a large repository"
OBJECTS, QUICK_OBJECTS = 1_000_000, 250_000  # no fewer: those of up to 200,000 are looked for one by one
TOPIC_COUNT, PARTITIONS_EACH = 50, 20
SECONDS_GOAL, RSS_GOAL_BYTES = 5.0, 500_000_000
_START_MS = 20_400 * DAY_MS
_STEP_MS = 10_000
_REAL_AROUND = 2_000
_RECORDS = 10
_WRITER = "bench"
_PREFIX = "first-"
_TIMEOUT_S = 300.0


def measure_planning(stack: BenchStack, *, rounds: int, objects: int) -> list[Result]:
    """`mirror plan --latest` and `--at` half of the time ago, as processes of their own."""
    deployment = Deployment(stack, "planning", ["topic-*"])
    at_ms = _fill(deployment.repository, objects)
    # An installed package has its bytecode: also where the environment keeps Python from writing it next to the sources.
    deployment.env |= {"PYTHONPYCACHEPREFIX": str(deployment.folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    deployment.command("plan", "--target", "target", "--topic", _topic(0), "--latest")
    results: list[Result] = []
    for name, point in (("--latest", ["--latest"]), ("--at", ["--at", format_moment(at_ms)])):
        seconds, cpu_seconds, peaks = [], [], []
        for _ in range(rounds):
            begin_s = time.time()
            with deployment.start("plan", "--target", "target", "--topic", "topic-*", *point, "--json") as child:
                printed = json.loads(child.wait(_TIMEOUT_S))
            seconds.append(time.time() - begin_s)
            cpu_seconds.append(child.usage.total_cpu_seconds)
            peaks.append(child.usage.peak_rss_bytes)
            assert len(printed["plan"]["topics"]) == TOPIC_COUNT
        results += _results(name, objects, seconds, cpu_seconds, peaks)
    results.append(_first_record(stack, deployment, at_ms, objects))
    deployment.remove()
    return results


def _first_record(stack: BenchStack, deployment: Deployment, at_ms: int, objects: int) -> Result:
    """A restore of one topic between two moments: what it takes beyond its plan until the target has a record.

    Not of all topics: that would measure how fast one broker makes 1,000 partitions.
    """
    since = format_moment(at_ms - _REAL_AROUND // 2 * _STEP_MS)
    chosen = ["--target", "target", "--topic", _topic(0), "--since", since, "--at", format_moment(at_ms)]
    chosen += ["--offsets", "translated", "--no-groups", "--prefix", _PREFIX]
    begin_s = time.time()
    with deployment.start("plan", *chosen, "--json") as child:
        plan = json.loads(child.wait(_TIMEOUT_S))["plan"]
    plan_s = time.time() - begin_s
    wanted = sum(partition["records"] for topic in plan["topics"] for partition in topic["partitions"])
    consent = ["--yes", "--target-cluster-id", cluster_id(stack.bootstrap)]
    begin_s = time.time()
    with deployment.start("restore", *chosen, *consent, "--json") as child:
        first_s = _first_record_s(stack, begin_s)
        loaded = json.loads(child.wait(_TIMEOUT_S))["result"]["loaded_records"]
    assert loaded == wanted > 0
    delete_topics(stack, _PREFIX)
    beyond_s = max(0.0, first_s - begin_s - plan_s)  # a plan compares recovery points besides
    return Result(
        name=f"first record of {PARTITIONS_EACH} partitions on the target, after the plan over {objects:,} objects",
        ours=round(beyond_s, 2),
        other=None,
        ratio=beyond_s / SECONDS_GOAL,
        goal=1.0,
        unit=f"s beyond the {plan_s:.1f} s of the same `mirror plan` (goal: {SECONDS_GOAL:.0f} s)",
        spread=(beyond_s / SECONDS_GOAL, beyond_s / SECONDS_GOAL),
        pairs=1,
        higher_is_better=False,
        details={"settings": {}},
    )


def _first_record_s(stack: BenchStack, begin_s: float) -> float:
    """When any partition of the target had one."""
    admin = kafka_admin(stack.bootstrap)
    name = f"{_PREFIX}{_topic(0)}"
    names = [TopicPartition(name, partition) for partition in range(PARTITIONS_EACH)]
    while time.time() < begin_s + _TIMEOUT_S:
        there = name in admin.list_topics(timeout=10).topics
        for future in (admin.list_offsets(dict.fromkeys(names, OffsetSpec.latest())) if there else {}).values():
            with contextlib.suppress(KafkaException):
                if future.result(10).offset > 0:
                    return time.time()
        time.sleep(0.05)
    raise BenchError("no record arrived")


def _results(
    name: str, objects: int, seconds: list[float], cpu_seconds: list[float], peaks: list[int]
) -> Iterator[Result]:
    details = {"cpu_seconds": statistics.median(cpu_seconds), "peak_rss_bytes": max(peaks), "settings": {}}
    yield Result(
        name=f"`mirror plan {name}` over {objects:,} objects and {TOPIC_COUNT * PARTITIONS_EACH:,} partitions",
        ours=round(statistics.median(seconds), 2),
        other=None,
        ratio=statistics.median(seconds) / SECONDS_GOAL,
        goal=1.0,
        unit=f"s from start to end of the process (goal: {SECONDS_GOAL:.0f} s)",
        spread=(min(seconds) / SECONDS_GOAL, max(seconds) / SECONDS_GOAL),
        pairs=len(seconds),
        higher_is_better=False,
        details=details,
    )
    yield Result(
        name=f"peak RSS of `mirror plan {name}` over {objects:,} objects",
        ours=max(peaks),
        other=None,
        ratio=max(peaks) / RSS_GOAL_BYTES,
        goal=1.0,
        unit=f"bytes (goal: {RSS_GOAL_BYTES // 1_000_000} MB)",
        spread=(min(peaks) / RSS_GOAL_BYTES, max(peaks) / RSS_GOAL_BYTES),
        pairs=len(peaks),
        higher_is_better=False,
        details=details,
    )


def _fill(repository: Repository, objects: int) -> int:
    """Everything that the repository is said to hold; returns the moment in its middle, ms."""
    for number in range(TOPIC_COUNT):
        repository.put_topic(
            TopicObject(
                format_version=FORMAT_VERSION,
                topic=_topic(number),
                topic_id=_topic_id(number),
                partition_count=PARTITIONS_EACH,
                replication_factor=1,
                configs={},
                captured_at_ms=_START_MS,
            )
        )
    middle = objects // 2
    per_day = DAY_MS // _STEP_MS
    days = range(0, objects, per_day)
    real = {*days, *range(max(0, middle - _REAL_AROUND), min(objects, middle + _REAL_AROUND))}
    template = _real_object(repository, 0)[0].index.runs[0]
    with ThreadPoolExecutor(8) as pool:
        for first in days:
            rolled: list[RolledObject] = []
            for number in range(first, min(objects, first + per_day)):
                if number in real:
                    entry, data = _real_object(repository, number)
                    pool.submit(repository.store.put, entry.key, data)
                else:
                    entry = _claimed_object(repository, number, template)
                rolled.append(entry)
            day_ms = _START_MS + first * _STEP_MS
            repository.put_rollup(RollupKey(day_ms, DAY_MS, _WRITER), rolled, day_ms + 2 * DAY_MS)
    return _START_MS + middle * _STEP_MS + 1


def _real_object(repository: Repository, number: int) -> tuple[RolledObject, bytes]:
    """An object as a worker writes it, and how a roll-up names it."""
    topic, partition, base_offset, sealed_at_ms = _place(number)
    times = [sealed_at_ms - 2_000 + record for record in range(_RECORDS)]
    body = read_slice(a_batch(base_offset, _RECORDS, timestamps=times), base_offset)
    marks = watermarks(body.next_offset, fetched_at_ms=sealed_at_ms - 1_000)
    draft = RunDraft(_topic(topic), _topic_id(topic), partition, base_offset, base_offset)
    draft.append(FetchSlice(draft.topic, draft.topic_id, partition, 0, base_offset, body, marks))
    draft.watermarks.append(
        WatermarkSample(marks.fetched_at_ms, marks.log_start_offset, marks.high_watermark, marks.last_stable_offset)
    )
    run, stored = encode_run(draft, position=HEADER_BYTES, mode="passthrough", zstd_level=3)
    index = _index(repository, number, run)
    data = encode_object(stored, index)
    return rolled_object(_key(number), len(data), index), data


def _claimed_object(repository: Repository, number: int, template: RunEntry) -> RolledObject:
    """An object that only a roll-up knows."""
    topic, partition, base_offset, sealed_at_ms = _place(number)
    run = msgspec.structs.replace(
        template,
        topic=_topic(topic),
        topic_id=_topic_id(topic),
        partition=partition,
        start_offset=base_offset,
        next_offset=base_offset + _RECORDS,
        checksum=f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}",
        min_base_timestamp_ms=sealed_at_ms - 2_000,
        max_timestamp_ms=sealed_at_ms - 2_000 + _RECORDS - 1,
        leader_epochs=[(0, base_offset)],
    )
    sample = WatermarkSample(sealed_at_ms - 1_000, 0, run.next_offset, run.next_offset)
    return RolledObject(key=_key(number), size_bytes=1_500, index=_index(repository, number, run), samples=[[sample]])


def _index(repository: Repository, number: int, run: RunEntry) -> SegmentIndex:
    is_first = run.start_offset == 0
    return SegmentIndex(
        format_version=FORMAT_VERSION,
        repository_id=repository.identity.repository_id,
        cluster_id=repository.identity.cluster_id,
        writer=_WRITER,
        sequence=number + 1,
        sealed_at_ms=_START_MS + number * _STEP_MS,
        durable_sequence=number,
        runs=[run],
        starts=[
            StartEntry(
                topic=run.topic,
                topic_id=run.topic_id,
                partition=run.partition,
                start_offset=0,
                reason="earliest",
                recorded_at_ms=_START_MS,
            )
        ]
        if is_first
        else [],
    )


def _place(number: int) -> tuple[int, int, int, int]:
    """Topic, partition, first offset and sealing time of an object: the partitions in turn."""
    turn, place = divmod(number, TOPIC_COUNT * PARTITIONS_EACH)
    return *divmod(place, PARTITIONS_EACH), turn * _RECORDS, _START_MS + number * _STEP_MS


def _key(number: int) -> str:
    return format_segment_key(SegmentKey(_START_MS + number * _STEP_MS, _WRITER, number + 1))


def _topic(number: int) -> str:
    return f"topic-{number:02d}"


def _topic_id(number: int) -> str:
    return f"{number:022d}"
