"""How long a restore may take, for people and as JSON."""

from typing import Any

from mirror.cli.output import human_bytes, human_duration, print_line
from mirror.core.restore_estimate import Estimate, MeasuredRate, Workload

__all__ = ["estimate_json", "print_estimate"]


def print_estimate(found: Estimate, work: Workload) -> None:
    """A range, and from what it is."""
    least, most = _rounded(found.least_s), _rounded(found.most_s)
    span = f"up to {most}" if found.least_s < 1 or least == most else f"{least} to {most}"
    print_line(
        f"time to load: {span} for {human_bytes(work.produced_bytes)} in {work.batches:,} batches ({'; '.join(found.basis)})"
    )


def _rounded(seconds: float) -> str:
    """No more exact than it is."""
    if seconds < 60:
        return human_duration(max(1, round(seconds)) * 1000)
    if seconds < 3600:
        return f"{round(seconds / 60)} m"
    return human_duration(round(seconds / 600) * 600_000)


def estimate_json(
    found: Estimate, work: Workload, reading: MeasuredRate | None, earlier: MeasuredRate | None
) -> dict[str, Any]:
    """The same, with what it was worked out from."""
    return {
        "least_s": round(found.least_s, 1),
        "most_s": round(found.most_s, 1),
        "basis": list(found.basis),
        "read_bytes_per_s": None if reading is None else round(reading.bytes_per_s),
        "earlier_bytes_per_s": None if earlier is None else round(earlier.bytes_per_s),
        "work": work,
    }
