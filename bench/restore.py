"""Our side of the restore comparisons: `mirror restore` from MinIO into a new topic of the same broker."""

import json
import time

from bench.children import BenchError
from bench.clients import kafka_admin
from bench.deployment import Deployment
from bench.sample import Sample
from bench.topics import PARTITIONS, FilledTopic, delete_topics, end_offsets

__all__ = ["RESTORE_TIMED", "run_restore"]

RESTORE_TIMED = (
    "`mirror restore` as a process from its start to its end (listing and reading MinIO, planning, creating the topic, loading it, "
    "checking), less the time that `mirror restore --help` takes right before it: the interpreter and its imports"
)
_TIMEOUT_S = 600.0


def run_restore(deployment: Deployment, topic: FilledTopic, target: str, *, module: str = "mirror.cli") -> Sample:
    """Restore the topic under the name `target`, which is deleted afterwards."""
    rename = f"{topic.name}={target}"
    start_up_s, start_up_cpu_seconds = _start_up(deployment)
    arguments = ["restore", "--target", "target", "--target-is-source", "--topic", topic.name, "--rename", rename]
    begin_s = time.time()
    with deployment.start(*arguments, "--json", module=module) as child:
        printed = child.wait(_TIMEOUT_S)
        seconds = time.time() - begin_s - start_up_s
    loaded = json.loads(printed)["result"]["loaded_records"]
    ends = end_offsets(kafka_admin(deployment.stack.bootstrap), target, PARTITIONS)
    if loaded != topic.records or sum(ends.values()) != topic.records:
        raise BenchError(
            f"{target}: {topic.records} records were to be restored, {loaded} were loaded, the log has {ends}"
        )
    delete_topics(deployment.stack, target)
    return Sample(
        records=topic.records,
        seconds=seconds,
        cpu_seconds=child.usage.total_cpu_seconds - start_up_cpu_seconds,
        process_cpu_seconds=child.usage.total_cpu_seconds,
        peak_rss_bytes=child.usage.peak_rss_bytes,
    )


def _start_up(deployment: Deployment) -> tuple[float, float]:
    begin_s = time.time()
    with deployment.start("restore", "--help") as child:
        child.wait(_TIMEOUT_S)
        return time.time() - begin_s, child.usage.total_cpu_seconds
