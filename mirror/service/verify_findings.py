"""What `mirror verify` found, as values."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from mirror.core.segment.index import RunEntry

__all__ = ["Finding", "FindingKind", "Note", "VerifyCounts", "VerifyReport", "findings_of_runs"]

Level = Literal["quick", "checksums", "deep"]

FindingKind = Literal[
    "object_missing",  # a roll-up names it, the store does not have it
    "object_gone",  # later objects of its writer say that it was durable; what it held is not known
    "object_damaged",  # header, footer or framing is not what was written
    "object_renamed",  # sound, but stored under another object's name: swapped or copied
    "object_foreign",  # in a folder of the repository, but never written by mirror
    "run_damaged",  # stored bytes do not match their checksum
    "batch_damaged",  # stored bytes are what was written, but a batch in them violates its CRC or structure
    "index_wrong",  # the footer says something else than the bytes
    "offsets_missing",  # a hole in the coverage that nothing explains
    "newest_missing",  # workers have committed these offsets as stored, and the coverage ends before them
    "start_missing",  # nothing says where the backup of the partition begins
    "rollup_damaged",  # a cache; nothing is lost
    "rollup_stale",  # a cache that hides objects from readers
    "rollup_differs",  # a cache that says something else than the footer
    "topic_damaged",  # a topic object cannot be read
    "snapshot_damaged",  # a snapshot cannot be read
    "checkpoint_damaged",  # a cache of where consumer groups stood; nothing is lost
    "state_damaged",  # a capture of the cluster's state cannot be read
    "restore_damaged",  # an object of a restore's record cannot be read
    "source_differs",  # the brokers hold other bytes at these offsets
    "source_only",  # the brokers hold committed records that the coverage claims and the repository lacks
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One damage or difference.

    ``start_offset`` and ``next_offset`` (half-open) are the offsets that cannot be trusted; None where the finding concerns none.
    """

    kind: FindingKind
    message: str
    object_key: str | None = None
    topic: str | None = None
    topic_id: str | None = None
    partition: int | None = None
    start_offset: int | None = None
    next_offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something worth knowing that is no damage: a gap with its reason, overlap, a cut tail, what could not be compared."""

    kind: str
    message: str
    topic: str | None = None
    topic_id: str | None = None
    partition: int | None = None
    start_offset: int | None = None
    next_offset: int | None = None


@dataclass(slots=True, kw_only=True)
class VerifyCounts:
    """What was looked at. ``batches_not_opened`` unpack to more than mirror ever opens; their CRC was checked.

    ``batches_by_producer_crc`` were checked against the CRC that their producer computed; ``batches_by_our_checksum`` are stored unpacked:
    they were checked against that CRC before they were unpacked, and since then only our checksum of the stored bytes vouches for them.
    """

    objects: int = 0
    runs: int = 0
    bytes_read: int = 0
    stored_bytes: int = 0
    batches_by_producer_crc: int = 0
    batches_by_our_checksum: int = 0
    batches_not_opened: int = 0
    records_decoded: int = 0
    rollups: int = 0
    topics: int = 0
    snapshots: int = 0
    states: int = 0
    group_checkpoints: int = 0
    restore_records: int = 0
    partitions: int = 0
    source_batches_equal: int = 0
    source_records_compared: int = 0
    source_records_gone: int = 0

    def add(self, other: "VerifyCounts") -> None:
        """Sum up."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True, kw_only=True)
class VerifyReport:
    """The whole answer of `mirror verify`."""

    repository: str
    level: Level
    counts: VerifyCounts = field(default_factory=VerifyCounts)
    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    compared_with: str | None = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def exit_code(self) -> int:
        """0 sound, 5 damage or difference."""
        return 0 if self.is_sound else 5

    def finish(self) -> None:
        """Drop repeated findings and put all in the order in which a person reads them."""
        unique = dict.fromkeys(self.findings)
        self.findings = sorted(unique, key=lambda f: (f.topic or "", f.partition or 0, f.start_offset or 0, f.kind))
        self.notes.sort(key=lambda n: (n.kind, n.topic or "", n.partition or 0, n.start_offset or 0))


def findings_of_runs(
    kind: FindingKind, object_key: str, runs: Iterable[RunEntry], message: str, topics: frozenset[str] | None = None
) -> list[Finding]:
    """One finding per run of an object, so that every affected range is named; one without offsets where no run is known.

    Args:
        topics: only runs of these topics; None for all.
    """
    runs = list(runs)
    if not runs:
        return [Finding(kind=kind, object_key=object_key, message=message)]
    return [
        Finding(
            kind=kind,
            object_key=object_key,
            message=message,
            topic=run.topic,
            topic_id=run.topic_id,
            partition=run.partition,
            start_offset=run.start_offset,
            next_offset=run.next_offset,
        )
        for run in runs
        if topics is None or run.topic in topics
    ]
