"""Snapshots and captures of the cluster's state: each is read, and must be what was written."""

from mirror.core.keys import SNAPSHOTS_PREFIX, STATE_PREFIX, parse_snapshot_key, parse_state_key
from mirror.errors import DamageError, ObjectNotFoundError, UnsupportedFormatError
from mirror.service.cluster_states import read_state
from mirror.service.snapshots import read_snapshot
from mirror.service.verify_findings import Finding, FindingKind, VerifyReport
from mirror.service.verify_threads import bounded_map
from mirror.storage.repository import Repository

__all__ = ["SMALL_PREFIXES", "check_small_name", "check_small_objects"]

SMALL_PREFIXES = (SNAPSHOTS_PREFIX, STATE_PREFIX)


def check_small_name(key: str) -> None:
    """Whether an object below `SMALL_PREFIXES` is named as mirror names it.

    Raises:
        DamageError: it is not.
    """
    if key.startswith(STATE_PREFIX):
        parse_state_key(key)
    else:
        parse_snapshot_key(key)


def check_small_objects(repository: Repository, keys: list[str], report: VerifyReport) -> None:
    """Read them all; one that was deleted since it was listed is no finding: people delete snapshots."""
    for key, error in bounded_map(lambda name: _problem(repository, name), keys):
        is_state = key.startswith(STATE_PREFIX)
        if error is None:
            report.counts.states += is_state
            report.counts.snapshots += not is_state
        elif not isinstance(error, ObjectNotFoundError):
            kind: FindingKind = "state_damaged" if is_state else "snapshot_damaged"
            report.findings.append(Finding(kind=kind, object_key=key, message=str(error)))


def _problem(repository: Repository, key: str) -> Exception | None:
    try:
        if key.startswith(STATE_PREFIX):
            read_state(repository, parse_state_key(key))
        else:
            read_snapshot(repository, parse_snapshot_key(key))
    except (DamageError, UnsupportedFormatError, ObjectNotFoundError) as error:
        return error
    return None
