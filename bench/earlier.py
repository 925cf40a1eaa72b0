"""A run of a part of the suite takes the place of its own lines in the last report; the others stay, each with its day."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bench.compare import Result

__all__ = ["MEASURED", "read_results", "with_earlier"]

MEASURED = "measured"
"""The detail of a result that says when it was measured, where that was not the whole run."""

_JUDGED = "met"  # follows from the rest


def read_results(path: Path) -> tuple[list[Result], dict[str, Any], dict[str, Any]]:
    """The results of an earlier report, its machine, and its run."""
    report = json.loads(path.read_text())
    names = {field.name for field in fields(Result)} - {"details"}
    results = []
    for entry in report["comparisons"]:
        own = {key: entry[key] for key in names}
        details = {key: value for key, value in entry.items() if key not in names and key != _JUDGED}
        results.append(Result(**{**own, "spread": tuple(entry["spread"])}, details=details))
    return results, report["machine"], report["run"]


def with_earlier(results: Sequence[Result], earlier: Sequence[Result], run: Mapping[str, Any]) -> list[Result]:
    """All results in the order of the earlier ones, new ones behind them; those of ``run`` say its day."""
    dated = {result.name: replace(result, details={**result.details, MEASURED: run["date"]}) for result in results}
    merged = [dated.pop(result.name, result) for result in earlier]
    return [*merged, *dated.values()]
