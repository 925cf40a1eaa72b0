"""Snapshots, captures of the cluster's state, checkpoints of consumer groups: each is read, and must be what was written."""

from mirror.core.keys import (
    GROUPS_PREFIX,
    SNAPSHOTS_PREFIX,
    STATE_PREFIX,
    parse_group_checkpoint_key,
    parse_snapshot_key,
    parse_state_key,
)
from mirror.errors import DamageError, ObjectNotFoundError, UnsupportedFormatError
from mirror.service.cluster_states import read_state
from mirror.service.group_checkpoints import read_group_checkpoint
from mirror.service.snapshots import read_snapshot
from mirror.service.verify_findings import Finding, FindingKind, VerifyReport
from mirror.service.verify_threads import bounded_map
from mirror.storage.repository import Repository

__all__ = ["SMALL_PREFIXES", "check_small_name", "check_small_objects"]

SMALL_PREFIXES = (SNAPSHOTS_PREFIX, STATE_PREFIX, GROUPS_PREFIX)


def check_small_name(key: str) -> None:
    """Whether an object below `SMALL_PREFIXES` is named as mirror names it.

    Raises:
        DamageError: it is not.
    """
    if key.startswith(STATE_PREFIX):
        parse_state_key(key)
    elif key.startswith(GROUPS_PREFIX):
        parse_group_checkpoint_key(key)
    else:
        parse_snapshot_key(key)


def check_small_objects(repository: Repository, keys: list[str], report: VerifyReport) -> None:
    """Read them all; one that was deleted since it was listed is no finding: people delete snapshots."""
    for key, error in bounded_map(lambda name: _problem(repository, name), keys):
        is_state, is_checkpoint = key.startswith(STATE_PREFIX), key.startswith(GROUPS_PREFIX)
        if error is None:
            report.counts.states += is_state
            report.counts.group_checkpoints += is_checkpoint
            report.counts.snapshots += not is_state and not is_checkpoint
        elif not isinstance(error, ObjectNotFoundError):
            kind: FindingKind = "state_damaged" if is_state else "snapshot_damaged"
            message = str(error)
            if is_checkpoint:
                kind, message = "checkpoint_damaged", f"{error}; nothing is lost, checkpoints are caches: delete it"
            report.findings.append(Finding(kind=kind, object_key=key, message=message))


def _problem(repository: Repository, key: str) -> Exception | None:
    try:
        if key.startswith(STATE_PREFIX):
            read_state(repository, parse_state_key(key))
        elif key.startswith(GROUPS_PREFIX):
            read_group_checkpoint(repository, parse_group_checkpoint_key(key))
        else:
            read_snapshot(repository, parse_snapshot_key(key))
    except (DamageError, UnsupportedFormatError, ObjectNotFoundError) as error:
        return error
    return None
