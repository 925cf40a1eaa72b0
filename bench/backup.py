"""Our side of the backup comparisons: the real worker, from its first fetch to its last durable object."""

from collections.abc import Callable, Mapping, Sequence

from bench.children import BenchError, Child
from bench.deployment import Deployment
from bench.sample import Sample
from bench.sealed import SealedReader, ToldEvent
from bench.stack import BenchStack
from bench.topics import FilledTopic
from mirror.core.segment.index import SegmentIndex

__all__ = ["BACKUP_TIMED", "backed_up", "run_backup"]

BACKUP_TIMED = (
    "from the moment the worker knows its positions (`recorded_at_ms` of the start entries, which are stored before the first "
    "fetch) to the time stamp of the SegmentSealed event that completes the topic, which is sent after the store has taken the "
    "object; Faust's start (joining the group, recovering the table) comes before"
)
_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 40.0


def run_backup(stack: BenchStack, topic: FilledTopic, name: str, settings: Mapping[str, str], *, keep: bool) -> Sample:
    """Back up the whole topic into a repository of its own with that name, removed afterwards unless `keep`."""
    deployment = Deployment(stack, name, [topic.name], settings)
    sample = backed_up(deployment, topic)
    if not keep:
        deployment.remove()
    return sample


def backed_up(
    deployment: Deployment,
    topic: FilledTopic,
    *,
    module: str = "mirror.cli",
    on_told: Callable[[Sequence[ToldEvent]], None] = lambda _told: None,
) -> Sample:
    """Run a worker until the topic is durable, stop it, and check what it stored. Raises BenchError when that is not right."""
    with deployment.start("worker", module=module) as worker:
        reader = SealedReader(deployment.stack.bootstrap, deployment.sealed_topic, worker)
        try:
            reader.wait_for(topic.name, topic.next_offsets, _TIMEOUT_S)
        finally:
            reader.close()
        worker.terminate(_STOP_TIMEOUT_S)
    on_told(reader.told)
    return _sample(deployment, topic, worker, reader.told)


def _sample(deployment: Deployment, topic: FilledTopic, worker: Child, told: Sequence[ToldEvent]) -> Sample:
    repository = deployment.repository
    objects = [repository.read_index(info.key) for info in repository.list_segments()]
    indexes = [index for index, _ in objects]
    _check(topic, indexes)
    begin_s = min(start.recorded_at_ms for index in indexes for start in index.starts) / 1000
    durable = [
        (sum(run.record_count for run in entry.event.runs), entry.told_at_s) for entry in told if entry.event.runs
    ]
    usage = worker.usage

    def until(count: int, steady: Sample | None) -> Sample:
        finish_s = durable[count - 1][1]
        return Sample(
            records=sum(records for records, _ in durable[:count]),
            seconds=finish_s - begin_s,
            cpu_seconds=usage.between(begin_s, finish_s),
            process_cpu_seconds=usage.total_cpu_seconds,
            peak_rss_bytes=usage.peak_rss_bytes,
            stored_bytes=sum(size_bytes for _, size_bytes in objects),
            objects=len(objects),
            steady=steady,
        )

    return until(len(durable), until(len(durable) - 1, None) if len(durable) > 1 else None)


def _check(topic: FilledTopic, indexes: list[SegmentIndex]) -> None:
    runs = [run for index in indexes for run in index.runs]
    for partition, next_offset in topic.next_offsets.items():
        ranges = sorted(
            (run.start_offset, run.next_offset) for run in runs if (run.topic, run.partition) == (topic.name, partition)
        )
        reached = 0
        for start_offset, run_next_offset in ranges:
            if start_offset != reached:
                raise BenchError(f"{topic.name}-{partition}: [{reached}, {start_offset}) is stored twice or not at all")
            reached = run_next_offset
        if reached != next_offset:
            raise BenchError(f"{topic.name}-{partition}: stored up to {reached}, the log ends at {next_offset}")
