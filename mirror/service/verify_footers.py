"""Reading and judging footers: the index of every segment object, against its name, its repository and its roll-ups."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mirror.core.keys import parse_segment_key
from mirror.core.rollup import RolledObject, rolled_object
from mirror.core.segment.index import SegmentIndex
from mirror.core.segment.layout import TRAILER_BYTES, decode_index, decode_trailer
from mirror.errors import DamageError, ObjectNotFoundError, UnsupportedFormatError
from mirror.service.verify_findings import FindingKind, VerifyReport, findings_of_runs
from mirror.service.verify_threads import bounded_map
from mirror.storage.repository import Repository

__all__ = ["FooterChecker", "OnProgress"]

OnProgress = Callable[[str, int, int], None]
"""``(what is done now, so much of it, of so much)``: footers in objects, bodies in bytes."""

_FOOTER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class _Footer:
    key: str
    size_bytes: int
    index: SegmentIndex | None
    finding: tuple[FindingKind, str] | None  # kind, message


@dataclass(slots=True)
class FooterChecker:
    """Checks footers, each object once.

    Args:
        repository: where from.
        report: gets the findings.
        named: what roll-ups say of objects.
        hidden: keys that the roll-up of a finished day hides from readers.
        topics: only these; None for all.
    """

    repository: Repository
    report: VerifyReport
    named: Mapping[str, RolledObject]
    hidden: set[str]
    topics: frozenset[str] | None
    _seen: set[str] = field(default_factory=set)

    def check(self, sizes: Mapping[str, int], on_progress: OnProgress | None = None) -> list[RolledObject]:
        """The sound ones of these objects (key → listed size), those left out that were checked before."""
        keys = [key for key in sizes if key not in self._seen]
        self._seen.update(keys)
        sound = []
        read = bounded_map(lambda key: _read_footer(self.repository, key, sizes[key]), keys)
        for number, (_, footer) in enumerate(read, start=1):
            self._judge(footer)
            if footer.index is not None and footer.finding is None:
                sound.append(rolled_object(footer.key, footer.size_bytes, footer.index))
            if on_progress:
                on_progress("reading footers", number, len(keys))
        return sound

    def _judge(self, footer: _Footer) -> None:
        key, rolled = footer.key, self.named.get(footer.key)
        self.report.counts.objects += 1
        if footer.finding is not None:
            kind, message = footer.finding
            index = footer.index or (rolled.index if rolled is not None else None)
            self._add(kind, key, index, message)
            return
        if rolled is not None and footer.index is not None and _differ(rolled, footer.index):
            message = f"{key}: a roll-up says something else than its footer; delete the roll-ups of its day"
            self._add("rollup_differs", key, footer.index, message)
        if key in self.hidden:
            message = f"{key}: the roll-up of its day does not name it: readers do not see it; delete that roll-up"
            self._add("rollup_stale", key, footer.index, message)

    def _add(self, kind: FindingKind, key: str, index: SegmentIndex | None, message: str) -> None:
        runs = index.runs if index is not None else []
        self.report.findings += findings_of_runs(kind, key, runs, message, self.topics)


def _differ(rolled: RolledObject, index: SegmentIndex) -> bool:
    """Whether a roll-up says something else; one that says nothing of samples is older."""
    own = rolled_object(rolled.key, rolled.size_bytes, index)
    return own.index != rolled.index or bool(rolled.samples and rolled.samples != own.samples)


def _read_footer(repository: Repository, key: str, listed_bytes: int) -> _Footer:
    """The footer of an object, kept also where the object stands under a wrong name, so that its offsets can be named."""
    try:
        tail, object_bytes = repository.store.get_suffix(key, _FOOTER_BYTES)
        needed = decode_trailer(tail, object_bytes, key).index_stored_bytes + TRAILER_BYTES
        if needed > len(tail):
            tail, object_bytes = repository.store.get_suffix(key, needed)
        index = decode_index(tail, object_bytes, key)
    except ObjectNotFoundError:
        return _Footer(key, listed_bytes, None, ("object_missing", f"{key}: was listed, then gone"))
    except DamageError as error:
        return _Footer(key, listed_bytes, None, ("object_damaged", error.message))
    except UnsupportedFormatError as error:
        # The version stands before the checksum, which another version may compute in another way.
        said = f"{error.message}: bits of its trailer have flipped, or a newer mirror wrote it"
        return _Footer(key, listed_bytes, None, ("object_damaged", said))
    identity = repository.identity
    if (index.repository_id, index.cluster_id) != (identity.repository_id, identity.cluster_id):
        message = f"{key}: belongs to repository {index.repository_id} of cluster {index.cluster_id}"
        return _Footer(key, object_bytes, index, ("object_foreign", message))
    named = parse_segment_key(key)
    # The name is given when a put begins, so it may be later than the sealing, and a put whose answer was lost is made again.
    if (index.writer, index.sequence) != (named.writer, named.sequence) or index.sealed_at_ms > named.sealed_at_ms:
        said = f"segment {index.writer}-{index.sequence} of {index.sealed_at_ms}"
        return _Footer(key, object_bytes, index, ("object_renamed", f"{key}: holds {said}: swapped or copied"))
    return _Footer(key, object_bytes, index, None)
