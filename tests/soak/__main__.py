"""`python -m tests.soak [--kills N] [--restore-kills N] [--restore-histories N] [--seed N] [--only NAME …] [--keep FOLDER]`: run it, write
docs/soak.md; exit 1 on a failure.
"""

import argparse
import asyncio
import platform
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from tests.fault.restore_leaders import LeaderLab
from tests.fault.worker_kills import KillMatrix, Pace
from tests.fault.worker_lab import WorkerLab
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer
from tests.soak.broker_death import run_broker_death
from tests.soak.rack import run_follower_fetch, zoned_cluster
from tests.soak.report import Outcome, write_report
from tests.soak.restore_death import run_restore_death
from tests.soak.restores import run_restore_histories, run_restore_kills
from tests.soak.unclean import run_unclean_election

REPORT = Path(__file__).parents[2] / "docs" / "soak.md"
_KILLS_PER_ROUND = 18
_Scenario = Callable[[KafkaCluster, MinioServer, Path, Callable[[str], None]], str]
_ROUGH = Pace(store_away=(20.0, 60.0), kafka_away=(20.0, 60.0))


def main(arguments: list[str]) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--kills", type=int, default=54)
    parser.add_argument("--restore-kills", type=int, default=40)
    parser.add_argument("--restore-histories", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--only", nargs="*", choices=_NAMES)
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there, with all logs")
    parser.add_argument("--report", type=Path, default=REPORT)
    chosen = parser.parse_args(arguments)
    wanted = chosen.only or _NAMES
    outcomes: list[Outcome] = []
    kept = nullcontext(chosen.keep) if chosen.keep else tempfile.TemporaryDirectory(prefix="mirror-soak-")
    with kept as folder:
        if "kills" in wanted:
            outcomes += _kills(Path(folder), chosen.kills, chosen.seed)
        if set(wanted) & set(_SCENARIOS):
            outcomes += _three_brokers(Path(folder), wanted)
        if "restore-kills" in wanted:
            outcomes.append(_restores(run_restore_kills, "Restores killed", chosen.restore_kills, chosen.seed, folder))
        if "histories" in wanted:
            title = "Restores of random histories"
            outcomes.append(_restores(run_restore_histories, title, chosen.restore_histories, chosen.seed, folder))
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


def _restores(
    run: Callable[[int, int, Path, Callable[[str], None]], str], title: str, count: int, seed: int, folder: Path | str
) -> Outcome:
    steps: list[str] = []

    def say(step: str) -> None:
        steps.append(step)
        print(step, flush=True)

    name = f"{title}, seed {seed}"
    return _judged(name, lambda: run(count, seed, Path(folder) / run.__name__, say), steps)


def _three_brokers(folder: Path, wanted: list[str]) -> list[Outcome]:
    home = folder / "three"
    cluster, minio = zoned_cluster(home / "kafka"), MinioServer(home / "minio")
    outcomes = []
    for name, (title, scenario) in _SCENARIOS.items():
        if name in wanted:
            steps: list[str] = []

            def run(scenario: _Scenario = scenario, lab: Path = home / name, steps: list[str] = steps) -> str:
                def say(step: str) -> None:
                    steps.append(step)
                    print(step, flush=True)

                return scenario(cluster, minio, lab, say)

            outcomes.append(_attempt(title, run, cluster, minio, steps, keep=True))
    cluster.kill()
    minio.kill()
    return outcomes


def _follower(cluster: KafkaCluster, minio: MinioServer, lab: Path, _say: Callable[[str], None]) -> str:
    received = run_follower_fetch(cluster, minio, lab)
    return f"with client_rack: {received[3]:,} bytes from the follower, {received[2]:,} from the leader"


def _unclean(cluster: KafkaCluster, minio: MinioServer, lab: Path, _say: Callable[[str], None]) -> str:
    covered = run_unclean_election(cluster, minio, lab)
    tails = ", ".join(f"[{tail.start_offset}, {tail.next_offset})" for tail in covered.cut_tails)
    return f"a fork entry; the cut tail {tails} is kept and not restored; offsets up to {covered.position} as on the new leader"


def _broker_death(cluster: KafkaCluster, minio: MinioServer, lab: Path, say: Callable[[str], None]) -> str:
    took, judged = run_broker_death(cluster, minio, lab, say)
    return (
        f"each of three brokers died once under load, then one hung (replication factor 3, min.insync.replicas 2): the backup was past "
        f"it after {', '.join(f'{seconds:.1f}' for seconds in took)} s; {judged.records:,} records, each readable once and equal to what a "
        f"read_committed consumer sees, none missing, {judged.gaps} gaps"
    )


def _restore_death(cluster: KafkaCluster, minio: MinioServer, lab: Path, say: Callable[[str], None]) -> str:
    results = run_restore_death(cluster, minio, lab, say)
    told = "; ".join(f"{harm}: exit {' then '.join(map(str, codes))}" for harm, codes in results)
    return (
        "the leader of some partitions was harmed in the middle of a restore (replication factor 3, min.insync.replicas 2); exit 3 was "
        f"resumed by the same command: {told}. Every record of the copies equals the original by an independent consumer, none missing, "
        "none twice"
    )


def _restore_leaders(cluster: KafkaCluster, minio: MinioServer, lab: Path, say: Callable[[str], None]) -> str:
    told = []
    seed = int(time.time())
    for name, takes_markers in (("markers", True), ("aborted transactions", False)):
        site = LeaderLab(
            cluster, lab / name.split()[0], seed, name=f"spread-{name.split()[0]}", bytes_per_second=25_000, say=say
        )
        codes = asyncio.run(_through(site, takes_markers=takes_markers))
        told.append(f"by {name}: exit {' then '.join(map(str, codes))}")
    return (
        "during a restore with exact offsets a leader was killed, came back, and leaders moved (replication factor 3, "
        f"min.insync.replicas 2); holes filled {'; '.join(told)}. Every record, offset, log end and position as before by an "
        f"independent consumer, and `mirror prove` finds no difference; seed {seed}"
    )


async def _through(site: LeaderLab, *, takes_markers: bool) -> list[int]:
    await site.prepare(6000)
    return await site.restore_through("x-", ["kill", "return", "move"], takes_markers=takes_markers)


_SCENARIOS: dict[str, tuple[str, _Scenario]] = {
    "follower": ("Fetch from the follower in the own zone", _follower),
    "unclean": ("Unclean leader election, three brokers", _unclean),
    "broker": ("A broker dies, three brokers", _broker_death),
    "restore": ("Restore with a broker dying, three brokers", _restore_death),
    "leaders": ("Restore at the same offsets while leaders die and move, three brokers", _restore_leaders),
}
_NAMES = ["kills", *_SCENARIOS, "restore-kills", "histories"]


def _attempt(
    name: str,
    run: Callable[[], str],
    cluster: KafkaCluster,
    minio: MinioServer,
    steps: list[str],
    *,
    keep: bool = False,
) -> Outcome:
    def attempt() -> str:
        if not minio.is_running:
            cluster.start()
            minio.start()
        return run()

    try:
        return _judged(name, attempt, steps)
    finally:
        if not keep:
            cluster.kill()
            minio.kill()


def _judged(name: str, run: Callable[[], str], steps: list[str]) -> Outcome:
    print(f"--- {name}", flush=True)
    begun = time.monotonic()
    try:
        summary, passed = run(), True
    except Exception as error:  # whatever it was is a result, and belongs into the report
        traceback.print_exc()
        summary, passed = f"{type(error).__name__}: {str(error)[:1500]}", False
    return Outcome(name=name, passed=passed, summary=summary, seconds=time.monotonic() - begun, steps=steps)


def _machine() -> str:
    import os

    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, CPython {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
