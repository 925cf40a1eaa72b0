"""`python -m tests.soak [--kills N] [--seed N] [--only NAME …]`: run all of it, write docs/soak.md; exit 1 if anything failed."""

import argparse
import platform
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.fault.worker_kills import KillMatrix, Pace
from tests.fault.worker_lab import WorkerLab
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer
from tests.soak.rack import run_follower_fetch, zoned_cluster
from tests.soak.report import Outcome, write_report
from tests.soak.unclean import run_unclean_election

REPORT = Path(__file__).parents[2] / "docs" / "soak.md"
_KILLS_PER_ROUND = 18
_ROUGH = Pace(store_away=(20.0, 60.0), kafka_away=(20.0, 60.0))


def main(arguments: list[str]) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--kills", type=int, default=54)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--only", nargs="*", choices=["kills", "follower", "unclean"])
    parser.add_argument("--report", type=Path, default=REPORT)
    chosen = parser.parse_args(arguments)
    wanted = chosen.only or ["kills", "follower", "unclean"]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="mirror-soak-") as folder:
        if "kills" in wanted:
            outcomes += _kills(Path(folder), chosen.kills, chosen.seed)
        if "follower" in wanted or "unclean" in wanted:
            outcomes += _three_brokers(Path(folder), wanted)
    write_report(chosen.report, outcomes, seed=chosen.seed, machine=_machine())
    for outcome in outcomes:
        print(f"{'ok    ' if outcome.passed else 'FAILED'} {outcome.name}: {outcome.summary}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _kills(folder: Path, kills: int, seed: int) -> list[Outcome]:
    outcomes = []
    rounds = max(1, round(kills / _KILLS_PER_ROUND))
    for number in range(rounds):
        home = folder / f"kills-{number}"
        cluster, minio = KafkaCluster(home / "kafka"), MinioServer(home / "minio")
        steps: list[str] = []

        def run(
            cluster: KafkaCluster = cluster,
            minio: MinioServer = minio,
            home: Path = home,
            steps: list[str] = steps,
            seed: int = seed + number,
            count: int = kills // rounds,
        ) -> str:
            lab = WorkerLab(cluster, minio, home / "lab")

            def say(step: str) -> None:
                steps.append(step)
                print(step, flush=True)

            try:
                result = KillMatrix(lab, seed, _ROUGH, say=say).run(count)
            finally:
                lab.close()
            judged = result.judgement
            assert judged is not None
            crashed = [step for step in result.done if "crashed" in step]
            assert not crashed, crashed
            return (
                f"{len(result.done)} kills in {result.seconds:.0f} s; {judged.records:,} records in {judged.objects} objects, each "
                f"readable once and equal to what a read_committed consumer sees, none missing, {judged.gaps} gaps; "
                f"{judged.overlap_offsets:,} offsets stored twice; `verify --deep` finds nothing"
            )

        outcomes.append(_attempt(f"Kill matrix, seed {seed + number}", run, cluster, minio, steps))
        shutil.rmtree(home, ignore_errors=True)
    return outcomes


def _three_brokers(folder: Path, wanted: list[str]) -> list[Outcome]:
    home = folder / "three"
    cluster, minio = zoned_cluster(home / "kafka"), MinioServer(home / "minio")
    outcomes = []
    if "follower" in wanted:

        def follower() -> str:
            received = run_follower_fetch(cluster, minio, home / "follower")
            return f"with client_rack: {received[3]:,} bytes from the follower, {received[2]:,} from the leader"

        outcomes.append(_attempt("Fetch from the follower in the own zone", follower, cluster, minio, [], keep=True))
    if "unclean" in wanted:

        def unclean() -> str:
            covered = run_unclean_election(cluster, minio, home / "unclean")
            tails = ", ".join(f"[{tail.start_offset}, {tail.next_offset})" for tail in covered.cut_tails)
            return f"a fork entry; the cut tail {tails} is kept and not restored; offsets up to {covered.position} as on the new leader"

        outcomes.append(_attempt("Unclean leader election, three brokers", unclean, cluster, minio, [], keep=True))
    cluster.kill()
    minio.kill()
    return outcomes


def _attempt(
    name: str,
    run: Callable[[], str],
    cluster: KafkaCluster,
    minio: MinioServer,
    steps: list[str],
    *,
    keep: bool = False,
) -> Outcome:
    print(f"--- {name}", flush=True)
    begun = time.monotonic()
    try:
        if not minio.is_running:
            cluster.start()
            minio.start()
        summary, passed = run(), True
    except Exception as error:  # whatever it was is a result, and belongs into the report
        traceback.print_exc()
        summary, passed = f"{type(error).__name__}: {str(error)[:1500]}", False
    finally:
        if not keep:
            cluster.kill()
            minio.kill()
    return Outcome(name=name, passed=passed, summary=summary, seconds=time.monotonic() - begun, steps=steps)


def _machine() -> str:
    import os

    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, CPython {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
