"""What ``mirror cat`` tells on stderr: signs of life, and at the end what was looked at and what is missing of it."""

import json
import sys
import time
from collections.abc import Callable

from mirror.cli.output import human_bytes, human_count, print_line, utc
from mirror.cli.streams import reader_is_gone
from mirror.core.moments import format_moment
from mirror.service.cat import CatReport, LostRange
from mirror.service.cat_choice import CatSelection

__all__ = ["Heartbeat", "print_summary"]

_QUIET_SECONDS = 5.0
_SHOWN = 20


class Heartbeat:
    """A line on a terminal's stderr whenever a search has shown nothing for a while; keeps what was found moving to its reader."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_s = clock()

    def wrote(self) -> None:
        """Records were printed."""
        self._heard_s = self._clock()

    def told(self, done: int, in_all: int) -> bool:
        """So many objects of those that must be opened are done; whether anybody still wants the rest."""
        sys.stdout.flush()
        if self._clock() - self._heard_s >= _QUIET_SECONDS:
            self._heard_s = self._clock()
            if sys.stderr.isatty():
                print_line(f"searched {human_count(done)} of {human_count(in_all)} objects …", err=True)
        return not reader_is_gone()


def print_summary(report: CatReport, selection: CatSelection, *, as_json: bool) -> None:
    """Counts, gaps and damage on stderr, in words or as one JSON object."""
    if as_json:
        print(json.dumps(_as_json(report, selection)), file=sys.stderr)
        return
    for lost in report.lost[:_SHOWN]:
        print_line(_lost(lost), color="yellow" if lost.reason else "red", err=True)
    _print_rest(len(report.lost))
    for message in report.damaged[:_SHOWN]:
        print_line(f"cannot be read, so left out here: {message}", color="red", err=True)
    _print_rest(len(report.damaged))
    if report.is_damaged:
        print_line("`mirror verify` says what is damaged", err=True)
    print_line(_counts(report, selection), err=True)


def _print_rest(count: int) -> None:
    if count > _SHOWN:
        print_line(f"… and {human_count(count - _SHOWN)} more: --json tells all", err=True)


def _lost(lost: LostRange) -> str:
    where = f"{lost.partition.topic}:{lost.partition.partition} [{lost.start_offset}, {lost.next_offset})"
    if lost.reason is None:
        return f"MISSING {where}: nothing says why"
    return f"gap {where}: {lost.reason}, found {utc(lost.detected_at_ms)}"


def _counts(report: CatReport, selection: CatSelection) -> str:
    records = (
        f"{human_count(report.records)} record{'s' * (report.records != 1)}" if report.records else "no record matches"
    )
    if not report.records and selection.is_whole:
        records = "no records"
    if report.records == selection.limit and report.is_cut:
        records += " (--limit: there may be more)"
    times = [
        f"{name} {format_moment(moment_ms)}"
        for name, moment_ms in (("since", selection.filter.since_ms), ("until", selection.filter.until_ms))
        if moment_ms is not None
    ]
    return " · ".join(
        [
            " ".join([records, *times]),
            f"looked at {human_count(report.objects)} of {human_count(report.objects_in_all)} objects, "
            f"{human_count(report.batches)} of {human_count(report.batches_in_all)} batches",
            f"{human_bytes(report.read_bytes)} read",
        ]
    )


def _as_json(report: CatReport, selection: CatSelection) -> dict[str, object]:
    return {
        "records": report.records,
        "is_cut": report.is_cut,
        "since_ms": selection.filter.since_ms,
        "until_ms": selection.filter.until_ms,
        "objects": report.objects,
        "objects_in_all": report.objects_in_all,
        "batches": report.batches,
        "batches_in_all": report.batches_in_all,
        "read_bytes": report.read_bytes,
        "lost": [
            {
                "topic": lost.partition.topic,
                "partition": lost.partition.partition,
                "start_offset": lost.start_offset,
                "next_offset": lost.next_offset,
                "reason": lost.reason,
                "detected_at_ms": lost.detected_at_ms,
            }
            for lost in report.lost
        ],
        "damaged": report.damaged,
    }
