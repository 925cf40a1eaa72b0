"""The runs of many segment objects as columns: what a repository of a million objects is held in while a restore is planned.

A run as values of Python takes about two kilobytes, as a row of these columns a tenth of that, and questions about all runs are asked of
numpy. A row becomes a :class:`RunEntry` when somebody asks for it, and stays the same object while it is in use.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from mirror.core.keys import SegmentKey, format_segment_key
from mirror.core.positions import PartitionId
from mirror.core.run_samples import EdgeSamples, RunSamples
from mirror.core.segment.index import ForkEntry, GapEntry, GoneEntry, RunEntry, StartEntry

__all__ = [
    "NO_TIME_MS",
    "OBJECT_COLUMNS",
    "RUN_COLUMNS",
    "Int64s",
    "RunFlag",
    "RunTable",
    "run_numbers",
]

Int64s = npt.NDArray[np.int64]

NO_TIME_MS = -(2**63)
"""In a column of times: None."""

OBJECT_COLUMNS = ("named_ms", "writer", "sequence", "size_bytes", "sealed_at_ms", "durable_sequence", "level")
RUN_COLUMNS = (
    "object",
    "partition",
    "start_offset",
    "next_offset",
    "position",
    "stored_bytes",
    "raw_bytes",
    "batch_count",
    "record_count",
    "fetched_bytes",
    "min_base_timestamp_ms",
    "max_timestamp_ms",
    "leader_epoch",
    "flags",
    "checksum_high",
    "checksum_low",
)


class RunFlag:
    """Bits of the column ``flags``."""

    ZSTD = 1
    UNPACKED = 2
    HAS_MARKERS = 4
    HAS_EPOCH = 8


@dataclass(slots=True)
class RunTable:
    """Columns of runs and of the objects that hold them.

    Attributes:
        objects: by the names of ``OBJECT_COLUMNS``, equally long; ``writer`` is an index into ``writers``.
        runs: by the names of ``RUN_COLUMNS``, equally long; ``object`` and ``partition`` are rows of ``objects`` and ``partitions``.
        writers: names.
        partitions: ``(topic, topic id, partition)``.
        entries: runs that were given as values; those with several leader epochs are only here whole.
        starts, gaps, forks, gone: the other entries of the objects' indexes.
        samples: what is known of the runs' watermark samples.
    """

    objects: dict[str, Int64s]
    runs: dict[str, Int64s]
    writers: list[str]
    partitions: list[tuple[str, str, int]]
    entries: dict[int, RunEntry] = field(default_factory=dict)
    _used: WeakValueDictionary[int, RunEntry] = field(default_factory=WeakValueDictionary)
    starts: list[StartEntry] = field(default_factory=list)
    gaps: list[GapEntry] = field(default_factory=list)
    forks: list[ForkEntry] = field(default_factory=list)
    gone: list[GoneEntry] = field(default_factory=list)
    samples: RunSamples = field(default_factory=RunSamples)

    @property
    def object_count(self) -> int:
        """Objects."""
        return len(self.objects["sequence"])

    @property
    def run_count(self) -> int:
        """Runs of all objects."""
        return len(self.runs["object"])

    def segment_key(self, object_row: int) -> SegmentKey:
        """The name of an object in parts."""
        of = self.objects
        writer = self.writers[int(of["writer"][object_row])]
        return SegmentKey(int(of["named_ms"][object_row]), writer, int(of["sequence"][object_row]))

    def object_key(self, object_row: int) -> str:
        """The name of an object."""
        return format_segment_key(self.segment_key(object_row))

    def key_of_run(self, row: int) -> str:
        """The name of the object that holds a run."""
        return self.object_key(int(self.runs["object"][row]))

    def entry(self, row: int) -> RunEntry:
        """A run as a value: the same object as long as anybody holds it."""
        known = self.entries.get(row)
        if known is None:
            known = self._used.get(row)
        return known if known is not None else self._used.setdefault(row, self._made(row))

    def _made(self, row: int) -> RunEntry:
        values = {name: int(column[row]) for name, column in self.runs.items()}
        topic, topic_id, partition = self.partitions[values["partition"]]
        flags = values["flags"]
        times = [
            None if ms == NO_TIME_MS else ms for ms in (values["min_base_timestamp_ms"], values["max_timestamp_ms"])
        ]
        return RunEntry(
            topic=topic,
            topic_id=topic_id,
            partition=partition,
            start_offset=values["start_offset"],
            next_offset=values["next_offset"],
            position=values["position"],
            stored_bytes=values["stored_bytes"],
            raw_bytes=values["raw_bytes"],
            batch_count=values["batch_count"],
            record_count=values["record_count"],
            checksum=f"{values['checksum_high'] & 2**64 - 1:016x}{values['checksum_low'] & 2**64 - 1:016x}",
            body_codec="zstd" if flags & RunFlag.ZSTD else "passthrough",
            unpacked=bool(flags & RunFlag.UNPACKED),
            has_markers=bool(flags & RunFlag.HAS_MARKERS),
            fetched_bytes=values["fetched_bytes"],
            min_base_timestamp_ms=times[0],
            max_timestamp_ms=times[1],
            leader_epochs=self.leader_epochs(row),
        )

    def leader_epochs(self, row: int) -> list[tuple[int, int]]:
        """``(leader epoch, its first offset)`` of a run."""
        known = self.entries.get(row)
        if known is not None:
            return known.leader_epochs
        if not self.runs["flags"][row] & RunFlag.HAS_EPOCH:
            return []
        return [(int(self.runs["leader_epoch"][row]), int(self.runs["start_offset"][row]))]

    def edge_samples(self, row: int) -> EdgeSamples | None:
        """The first and the last watermark sample of a run; None where only its footer has them.

        Raises:
            DamageError: the roll-up that has them is not what was written.
        """
        return self.samples.of(row, self.runs["next_offset"])

    def partition_id(self, partition_row: int) -> PartitionId:
        """Whose offsets these are."""
        _, topic_id, partition = self.partitions[partition_row]
        return PartitionId(topic_id, partition)

    def without(self, object_rows: Iterable[int]) -> "RunTable":
        """The table without some objects and their runs; what else their indexes said stays."""
        dropped = np.fromiter(object_rows, dtype=np.int64)
        if not len(dropped):
            return self
        kept = np.ones(self.object_count, dtype=bool)
        kept[dropped] = False
        new_rows = np.cumsum(kept) - 1
        kept_runs = kept[self.runs["object"]]
        new_run_rows = np.cumsum(kept_runs) - 1
        runs = {name: column[kept_runs] for name, column in self.runs.items()}
        runs["object"] = new_rows[runs["object"]]
        return RunTable(
            objects={name: column[kept] for name, column in self.objects.items()},
            runs=runs,
            writers=self.writers,
            partitions=self.partitions,
            entries={int(new_run_rows[row]): entry for row, entry in self.entries.items() if kept_runs[row]},
            starts=self.starts,
            gaps=self.gaps,
            forks=self.forks,
            gone=self.gone,
            samples=self.samples.chosen(np.flatnonzero(kept_runs).tolist(), self.runs["next_offset"]),
        )


def run_numbers(run: RunEntry) -> tuple[int, ...]:
    """The columns of a run from ``start_offset`` on."""
    flags = RunFlag.ZSTD if run.body_codec == "zstd" else 0
    flags |= RunFlag.UNPACKED if run.unpacked else 0
    flags |= RunFlag.HAS_MARKERS if run.has_markers else 0
    flags |= RunFlag.HAS_EPOCH if run.leader_epochs else 0
    high, low = run.checksum[:16], run.checksum[16:]
    return (
        run.start_offset,
        run.next_offset,
        run.position,
        run.stored_bytes,
        run.raw_bytes,
        run.batch_count,
        run.record_count,
        run.fetched_bytes,
        NO_TIME_MS if run.min_base_timestamp_ms is None else run.min_base_timestamp_ms,
        NO_TIME_MS if run.max_timestamp_ms is None else run.max_timestamp_ms,
        run.leader_epochs[-1][0] if run.leader_epochs else 0,
        flags,
        _signed(high),
        _signed(low),
    )


def _signed(digits: str) -> int:
    """16 hexadecimal digits as a signed number of 64 bits; 0 where they are none: such a checksum is only in ``entries``."""
    try:
        value = int(digits, 16)
    except ValueError:
        return 0
    if not 0 <= value < 2**64:
        return 0
    return value - 2**64 if value >= 2**63 else value
