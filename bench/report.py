"""From results to bench/results.json and docs/benchmarks.md; every word of that page comes from here."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.backup import BACKUP_TIMED
from bench.compare import Result
from bench.earlier import MEASURED
from bench.mirror_maker import MIRROR_MAKER_TIMED
from bench.restore import RESTORE_TIMED
from bench.settings import FAUST_RECORDS
from bench.stack import BROKER_HEAP
from bench.topics import PARTITIONS, TOPICS
from bench.why import WHY

__all__ = ["results_json", "results_markdown"]


def results_json(results: Sequence[Result], machine: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """One entry a comparison."""
    entries = [
        {
            "name": result.name,
            "ours": _rounded(result.ours),
            "other": None if result.other is None else _rounded(result.other),
            "ratio": _rounded(result.ratio),
            "goal": result.goal,
            "unit": result.unit,
            "met": result.is_met,
            "higher_is_better": result.higher_is_better,
            "spread": [_rounded(value) for value in result.spread],
            "pairs": result.pairs,
            **{key: _rounded(value) for key, value in result.details.items()},
        }
        for result in results
    ]
    return json.dumps({"machine": machine, "run": run, "comparisons": entries}, indent=1) + "\n"


def results_markdown(results: Sequence[Result], machine: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """The page."""
    parts = [
        _head(results, run),
        _table(results),
        _missed(results),
        _method(),
        _settings(results),
        _machine(machine, run),
    ]
    return "\n".join(part for part in parts if part)


def _head(results: Sequence[Result], run: Mapping[str, Any]) -> str:
    judged = [result for result in results if result.is_met is not None]
    met = sum(bool(result.is_met) for result in judged)
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {run['date']}. **{met} of {len(judged)} goals met**, "
        f"medians of {run['pairs']} alternating pairs unless the table says otherwise.",
    ]
    if run.get("note"):
        lines += ["", run["note"]]
    again: dict[str, list[str]] = {}
    for result in results:
        if MEASURED in result.details:
            again.setdefault(str(result.details[MEASURED]), []).append(result.name)
    lines += [f"\nMeasured again on {date}: {'; '.join(names)}." for date, names in again.items()]
    if run["quick"]:
        lines += [
            "",
            "**This was a run with `--quick` on little data: it shows that the bench works, the numbers say nothing.**",
        ]
    if run["failure"]:
        lines += ["", f"**This run is not complete**, it ended with: `{run['failure'].splitlines()[0]}`"]
    return "\n".join([*lines, ""])


def _table(results: Sequence[Result]) -> str:
    lines = [
        "| what | ours | other | ratio (smallest–largest) | goal | | CPU ratio | peak RSS | stored, objects | pairs |",
        "|---|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for result in results:
        details = result.details
        low, high = result.spread
        sign = "≥" if result.higher_is_better else "≤"
        cells = [
            result.name,
            f"{_number(result.ours)} {result.unit}",
            "" if result.other is None else _number(result.other),
            f"**{_ratio(result.ratio)}**" + (f" ({_ratio(low)}–{_ratio(high)})" if low != high else ""),
            "" if result.goal is None else f"{sign} {result.goal:g}",
            {None: "", True: "met", False: "**missed**"}[result.is_met],
            f"{details['cpu_ratio']:.1f}" if details.get("cpu_ratio") else "",
            f"{details['peak_rss_bytes'] / 1e6:.0f} MB" if details.get("peak_rss_bytes") else "",
            f"{details['stored_bytes'] / 1e6:.0f} MB, {details['objects']}" if details.get("stored_bytes") else "",
            str(result.pairs),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _missed(results: Sequence[Result]) -> str:
    missed = [result for result in results if result.is_met is False]
    if not missed:
        return ""
    lines = ["## Missed", ""]
    lines += [
        f"- {result.name}: {_ratio(result.ratio)} where {result.goal:g} was wanted. "
        + WHY.get(result.name, "`python -m bench.profile` shows where the time goes.")
        for result in missed
    ]
    return "\n".join([*lines, ""])


def _method() -> str:
    topics = "\n".join(
        f"- `{spec.name}`: {spec.records:,} JSON records of {spec.record_bytes} B, "
        + ", ".join(f"{key}={value}" for key, value in spec.producer_settings.items())
        for spec in TOPICS
    )
    return f"""\
## Method

Broker, store, both sides and the bench share the cores of one machine. The sides of a topic run one after the other, in turn,
and every second round goes backwards; a ratio is taken within a round, and the table gives the median of the ratios. Rates
are records/s. The CPU ratio is the other's CPU seconds for a record over ours, within the measured time, of the side's own process
(broker and store are not counted). Everything is read from the page cache, on both sides; each topic is read once before the
first round.

Topics of {PARTITIONS} partitions, made by Kafka's ProducerPerformance with payload files of nearly all distinct lines; `one-record` is
checked to have one record in each batch, by the headers in the broker's log:

{topics}

Timed are:

- *backup*: `mirror worker` in a process of its own, with a new repository and an empty local state: {BACKUP_TIMED}. After each run the
  stored ranges are checked: every offset once, from 0 to the end of the log. What is left when the log's end is reached waits for the
  flush by age, up to a second in which nothing is done. That is in the number. The lines *without the last flush* take the same runs up to
  their last object but one.
- *consumer*: a process that only reads with confluent-kafka: from the first non-empty `consume` to the last.
- *faust*: a stock Faust agent that only counts: from its first event to event {FAUST_RECORDS:,} (the topic is not read to its end).
- *restore*: {RESTORE_TIMED}. The topic's records are counted afterwards.
- *producer*: records read into memory before, then from the first `produce` to the end of `flush`, with keys, partitions and timestamps
  as they were (`produce_batch` takes neither timestamps nor headers, so it cannot send these records).
- *mm2*: MirrorMaker 2, {MIRROR_MAKER_TIMED}; its start is not counted.
- *recovery point*: every batch of a steady load, from the broker's append time to the event that says it is durable.
"""


def _settings(results: Sequence[Result]) -> str:
    seen: dict[str, Mapping[str, Any]] = {}
    for result in results:
        for key in ("settings", "other_settings"):
            found = result.details.get(key)
            if found:
                side = result.name.partition(" / ")[2] if key == "other_settings" else result.name.partition(" of ")[0]
                seen.setdefault(side, found)
    lines = [
        "## Settings",
        "",
        f"Broker: Apache Kafka, one node, heap {BROKER_HEAP}; everything else at its default.",
        "",
    ]
    lines += [
        f"- {side}: " + ", ".join(f"`{key}={str(value).strip(chr(34))}`" for key, value in found.items())
        for side, found in seen.items()
    ]
    return "\n".join([*lines, ""])


def _machine(machine: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    return f"""\
## Machine

{machine["cpu"]}, {machine["cores"]} cores, {machine["memory_bytes"] / 2**30:.0f} GiB, {machine["system"]}; Python {machine["python"]},
Kafka {machine["kafka"]}, MinIO {machine["minio"]}, librdkafka {machine["librdkafka"]}; {packages}. Load average before the first run:
{machine["load_before"]:.2f}. Command: `{run["command"]}`.
"""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.2f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if abs(value) < 100 else round(value)
    return value
