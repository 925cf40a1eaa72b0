"""docs/soak.md: what was done, and what came of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.fault.restore_kills import ACTIONS
from tests.servers.versions import KAFKA_VERSION, MINIO_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One scenario."""

    name: str
    passed: bool
    summary: str
    seconds: float
    steps: list[str] = field(default_factory=list)


def write_report(path: Path, outcomes: Sequence[Outcome], *, seed: int, machine: str) -> None:
    """Write the page."""
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    kinds = Counter(step.split()[0] for outcome in outcomes for step in outcome.steps if step.split()[0] in _MEANING)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    lines = [
        "# Soak test",
        "",
        "Written by `make soak` (`python -m tests.soak`); not edited by hand.",
        "",
        f"{when} UTC · seed {seed} · Apache Kafka {KAFKA_VERSION}, MinIO {MINIO_VERSION} · {machine}",
        "",
        f"**{'All passed.' if not failed else 'FAILED: ' + ', '.join(failed) + '.'}**",
        "",
        "Two workers back up three topics (lz4, uncompressed, transactions of which some abort) while workers, store and "
        "brokers are killed at random. Then an independent judge compares every record with what a `read_committed` consumer reads. "
        "Restores are ended, frozen and doubled at random moments, their leaders die, and random histories are restored to random "
        "moments; the judge is the same.",
        "",
    ]
    if kinds:
        lines += ["| ill-treatment | times |", "|---|---|"]
        lines += [f"| {_MEANING[kind]} | {count} |" for kind, count in kinds.most_common()]
        lines.append("")
    for outcome in outcomes:
        lines += [f"## {outcome.name}: {'passed' if outcome.passed else 'FAILED'}", "", outcome.summary, ""]
        if outcome.steps:
            lines += [
                "<details><summary>steps</summary>",
                "",
                *(f"- {step}" for step in outcome.steps),
                "",
                "</details>",
                "",
            ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines).rstrip() + "\n")


_MEANING = {
    "kill": "worker killed (-9) and started again",
    "term": "worker stopped (TERM): exits 0, started again",
    "stop": "worker frozen past the session timeout, then going on as a zombie",
    "freeze": "worker frozen for a moment",
    "put": "worker killed between put and event (store frozen during the put)",
    "store": "store killed for 20 to 60 s",
    "kafka": "broker killed for 20 to 60 s",
    "broker-death": "one broker of three killed (-9) under load",
    "broker-hang": "one broker of three frozen for 35 s under load",
    "restore-killed": "leader killed (-9) in the middle of a restore",
    "restore-returned": "leader killed (-9) in the middle of a restore, started again once others led",
    "restore-frozen": "leader frozen for 15 s in the middle of a restore",
    "leader-kill": "leader killed (-9) in the middle of a restore at the same offsets",
    "leader-return": "killed broker back in the middle of a restore",
    "leader-move": "leaders moved in the middle of a restore, by election",
    **{f"restore-{action}": f"restore: {what}" for action, what in ACTIONS.items()},
}
