"""All sides that work on one topic, and the comparisons among them."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench import settings
from bench.backup import backed_up, run_backup
from bench.children import run_python
from bench.compare import Comparison, Result, Say, Side, measure, summarize
from bench.deployment import Deployment
from bench.mirror_maker import run_mirror_maker
from bench.restore import run_restore
from bench.sample import Sample
from bench.stack import BenchStack
from bench.topics import PARTITIONS, FilledTopic, create_topic, delete_topics

__all__ = ["Session"]

_SIDE_TIMEOUT_S = 900.0
FAUST_ROUNDS = 3
MIRROR_MAKER_ROUNDS = 2


class Session:
    """Sides of one topic by name: `backup`, `backup zstd`, `restore`, `consumer`, `producer`, `faust`, `mm2`."""

    def __init__(self, stack: BenchStack, topic: FilledTopic, *, keep: bool) -> None:
        self._stack = stack
        self._topic = topic
        self._keep = keep
        self._numbers = itertools.count(1)
        self._restorable: Deployment | None = None
        self.backups: list[Sample] = []

    def run(self, comparisons: Sequence[Comparison], pairs: int, say: Say) -> list[Result]:
        """Measure the sides that are needed, and compare."""
        names = list(dict.fromkeys(name for comparison in comparisons for name in (comparison.ours, comparison.other)))
        sides = {name: self._side(name) for name in names}
        say(f"{self._topic.name}: {self._topic.records:,} records, {self._topic.log_bytes / 1e6:,.0f} MB on the broker")
        self._read()  # once for the page cache and the broker's compiler
        if "restore" in sides:
            self._prepare_restore()
        samples = measure(list(sides.values()), pairs, say)
        self.backups += [sample for name in sides if name.startswith("backup") for sample in samples[name]]
        results: list[Result] = []
        for comparison in comparisons:
            results.append(summarize(comparison, sides, samples))
            steady = [sample.steady for sample in samples[comparison.ours] if sample.steady is not None]
            if comparison.other == "consumer" and len(steady) == len(samples[comparison.ours]):
                without_wait = replace(comparison, name=f"{comparison.name}, without the last flush", goal=None)
                results.append(summarize(without_wait, sides, {**samples, comparison.ours: steady}))
        if "backup zstd" in samples:
            results += self._stored(samples["backup zstd"])
        if self._restorable is not None and not self._keep:
            self._restorable.remove()
        return results

    def _side(self, name: str) -> Side:
        make: dict[str, Side] = {
            "backup": Side(name=name, run=lambda: self._backup(settings.AS_FETCHED), settings=settings.AS_FETCHED),
            "backup zstd": Side(name=name, run=lambda: self._backup(settings.REPACKED), settings=settings.REPACKED),
            "restore": Side(name=name, run=self._restore, settings={}),
            "consumer": Side(name=name, run=self._read, settings=settings.CONSUMER),
            "producer": Side(name=name, run=self._send, settings=settings.PRODUCER),
            "faust": Side(name=name, run=self._faust, settings=settings.FAUST, rounds=FAUST_ROUNDS),
            "mm2": Side(name=name, run=self._mirror_maker, settings=settings.MIRROR_MAKER, rounds=MIRROR_MAKER_ROUNDS),
        }
        return make[name]

    def _name(self, what: str) -> str:
        return f"{self._topic.name}-{what}-{next(self._numbers)}"

    def _backup(self, worker_settings: Mapping[str, str]) -> Sample:
        return run_backup(self._stack, self._topic, self._name("backup"), worker_settings, keep=self._keep)

    def _prepare_restore(self) -> None:
        self._restorable = Deployment(self._stack, self._name("stored"), [self._topic.name], settings.AS_FETCHED)
        backed_up(self._restorable, self._topic)

    def _restore(self) -> Sample:
        assert self._restorable is not None
        return run_restore(self._restorable, self._topic, self._name("restored"))

    def _read(self) -> Sample:
        return self._other(
            "bench.sides.consumer", topic=self._topic.name, records=self._topic.records, partitions=PARTITIONS
        )

    def _send(self) -> Sample:
        target = self._name("sent")
        create_topic(self._stack, target, PARTITIONS)
        arguments = {"source": self._topic.name, "target": target, "records": self._topic.records}
        sample = self._other("bench.sides.producer", partitions=PARTITIONS, **arguments)
        delete_topics(self._stack, target)
        return sample

    def _faust(self) -> Sample:
        name = self._name("faust")
        records = min(settings.FAUST_RECORDS, self._topic.records)
        sample = self._other(
            "bench.sides.faust_agent",
            topic=self._topic.name,
            records=records,
            data_dir=str(self._stack.folder / name),
            group=name,
        )
        delete_topics(self._stack, f"{name}-")
        return sample

    def _mirror_maker(self) -> Sample:
        return run_mirror_maker(self._stack, self._topic)

    def _other(self, module: str, **arguments: Any) -> Sample:
        log_path = self._stack.folder / f"{module}.log"
        result, usage = run_python(module, {"bootstrap": self._stack.bootstrap, **arguments}, log_path, _SIDE_TIMEOUT_S)
        begin_s, finish_s = result["begin_s"], result["finish_s"]
        return Sample(
            records=int(result["records"]),
            seconds=finish_s - begin_s,
            cpu_seconds=usage.between(begin_s, finish_s),
            process_cpu_seconds=usage.total_cpu_seconds,
            peak_rss_bytes=usage.peak_rss_bytes,
        )

    def _stored(self, samples: Sequence[Sample]) -> list[Result]:
        goal = STORED_GOALS.get(self._topic.name)
        if goal is None:
            return []
        log_bytes = self._topic.log_bytes
        ratios = [sample.stored_bytes / log_bytes for sample in samples]
        return [
            Result(
                name=f"stored bytes of {self._topic.name}, zstd 3, against the broker's log",
                ours=statistics.median(sample.stored_bytes for sample in samples),
                other=log_bytes,
                ratio=statistics.median(ratios),
                goal=goal,
                unit="bytes",
                spread=(min(ratios), max(ratios)),
                pairs=len(samples),
                higher_is_better=False,
                details={"settings": settings.REPACKED, "objects": samples[0].objects},
            )
        ]


STORED_GOALS = {"small-lz4": 0.60, "large-lz4": 0.52}
