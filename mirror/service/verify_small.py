"""Snapshots, and whatever else is stored beside segments and topics: each is read, and must be what was written."""

from mirror.core.keys import SNAPSHOTS_PREFIX, parse_snapshot_key
from mirror.errors import DamageError, ObjectNotFoundError, UnsupportedFormatError
from mirror.service.snapshots import read_snapshot
from mirror.service.verify_findings import Finding, VerifyReport
from mirror.service.verify_threads import bounded_map
from mirror.storage.repository import Repository

__all__ = ["SMALL_PREFIXES", "check_small_name", "check_small_objects"]

SMALL_PREFIXES = (SNAPSHOTS_PREFIX,)


def check_small_name(key: str) -> None:
    """Whether an object below `SMALL_PREFIXES` is named as mirror names it.

    Raises:
        DamageError: it is not.
    """
    parse_snapshot_key(key)


def check_small_objects(repository: Repository, keys: list[str], report: VerifyReport) -> None:
    """Read them all; one that was deleted since it was listed is no finding: people delete snapshots."""
    for key, error in bounded_map(lambda name: _problem(repository, name), keys):
        if error is None:
            report.counts.snapshots += 1
        elif not isinstance(error, ObjectNotFoundError):
            report.findings.append(Finding(kind="snapshot_damaged", object_key=key, message=str(error)))


def _problem(repository: Repository, key: str) -> Exception | None:
    try:
        read_snapshot(repository, parse_snapshot_key(key))
    except (DamageError, UnsupportedFormatError, ObjectNotFoundError) as error:
        return error
    return None
