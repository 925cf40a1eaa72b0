"""Run our side once under a sampler and print where its CPU seconds went.

`python -m bench.profile backup|backup-zstd|restore TOPIC`, or `python -m bench.profile idle`. The rates are lower than in the bench:
sampling costs.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from bench import settings
from bench.backup import backed_up
from bench.deployment import Deployment
from bench.many_partitions import run_idle
from bench.restore import run_restore
from bench.sample import Sample
from bench.sampling import PROFILE_VARIABLE
from bench.sealed import ToldEvent
from bench.stack import BenchStack, running_stack
from bench.topics import TOPICS, FilledTopic, fill

_SAMPLED = "bench.sampling"
_IDLE_S = 60


def main() -> int:
    """The exit code."""
    specs = {spec.name: spec for spec in TOPICS}
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("what", choices=("backup", "backup-zstd", "restore", "idle"))
    parser.add_argument("topic", nargs="?", choices=tuple(specs), default="small-lz4", help="not for idle")
    parser.add_argument("--quick", action="store_true", help="little data")
    arguments = parser.parse_args()
    spec = specs[arguments.topic]
    with running_stack(keep=False) as stack:
        report_path = stack.folder / "profile.txt"
        os.environ[PROFILE_VARIABLE] = str(report_path)
        if arguments.what == "idle":
            idle = run_idle(stack, _IDLE_S, module=_SAMPLED)
            print(f"{idle.name}: {idle.ours} {idle.unit}, sampling included")
            print(report_path.read_text())
            return 0
        topic = fill(stack, spec.quick() if arguments.quick else spec)
        sample = _run(stack, topic, arguments.what)
        print(f"{arguments.what} of {topic.name}: {sample.records_per_second:,.0f} records/s in {sample.seconds:.2f} s")
        print(report_path.read_text())
    return 0


def _run(stack: BenchStack, topic: FilledTopic, what: str) -> Sample:
    worker_settings = settings.REPACKED if what == "backup-zstd" else settings.AS_FETCHED
    deployment = Deployment(stack, "profiled", [topic.name], worker_settings)
    if what != "restore":
        return backed_up(deployment, topic, module=_SAMPLED, on_told=_print_timeline)
    backed_up(deployment, topic)
    return run_restore(deployment, topic, "restored", module=_SAMPLED)


def _print_timeline(told: Sequence[ToldEvent]) -> None:
    """When each object was sealed (its index made) and told (durable), after the first event: waiting shows here."""
    begin_s = told[0].told_at_s
    for entry in told[1:]:
        event = entry.event
        records = sum(run.record_count for run in event.runs)
        print(
            f"  {event.sealed_at_ms / 1000 - begin_s:7.2f} s sealed {entry.told_at_s - begin_s:7.2f} s told "
            f"{event.size_bytes / 1e6:6.1f} MB {records:9,} records"
        )


if __name__ == "__main__":
    sys.exit(main())
