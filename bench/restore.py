"""Our side of the restore comparisons: `mirror restore` from MinIO into a new topic of the same broker."""

import json

from bench.children import BenchError
from bench.clients import cluster_id, kafka_admin
from bench.deployment import Deployment
from bench.sample import Sample
from bench.topics import PARTITIONS, FilledTopic, delete_topics, end_offsets

__all__ = ["RESTORE_TIMED", "run_restore"]

RESTORE_TIMED = (
    "`mirror restore` as a process of its own, from the moment everything is imported until the command returns: reading the "
    "configuration, listing and reading MinIO, planning, creating the topic, loading it"
)
_TIMEOUT_S = 600.0


def run_restore(deployment: Deployment, topic: FilledTopic, target: str, *, module: str = "bench.timed") -> Sample:
    """Restore the topic under the name `target`, which is deleted afterwards."""
    rename = f"{topic.name}={target}"
    arguments = ["restore", "--target", "target", "--latest", "--topic", topic.name, "--rename", rename]
    arguments += ["--yes", "--target-cluster-id", cluster_id(deployment.stack.bootstrap)]
    with deployment.start(*arguments, "--json", module=module) as child:
        printed, _, times = child.wait(_TIMEOUT_S).rstrip().rpartition("\n")
    begin_s, finish_s = json.loads(times)["begin_s"], json.loads(times)["finish_s"]
    loaded = json.loads(printed)["result"]["loaded_records"]
    ends = end_offsets(kafka_admin(deployment.stack.bootstrap), target, PARTITIONS)
    if loaded != topic.records or sum(ends.values()) != topic.records:
        raise BenchError(
            f"{target}: {topic.records} records were to be restored, {loaded} were loaded, the log has {ends}"
        )
    delete_topics(deployment.stack, target)
    return Sample(
        records=topic.records,
        seconds=finish_s - begin_s,
        cpu_seconds=child.usage.between(begin_s, finish_s),
        process_cpu_seconds=child.usage.total_cpu_seconds,
        peak_rss_bytes=child.usage.peak_rss_bytes,
    )
