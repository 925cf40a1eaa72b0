"""What an earlier run of the same restore named its consumer groups.

Their names are no part of a restore's id: the same command without its `--rename-group` goes on with it, and puts them under their own,
which may be in use.
"""

from dataclasses import replace

from mirror.core.restore_plan import RestorePlan
from mirror.errors import AccessError, DamageError
from mirror.service.restore.plan_file import PlanFile, decode_plan
from mirror.service.restore.records import read_history
from mirror.storage.repository import Repository

__all__ = ["note_groups_named_otherwise"]


def note_groups_named_otherwise(repository: Repository, planned: PlanFile, plan: RestorePlan) -> RestorePlan:
    """The plan, with a note on each group that an earlier run of this restore was to put under another name, unless it was undone.

    Args:
        repository: opened.
        planned: ``plan``, frozen.
        plan: what will be done.

    Raises:
        UnsupportedFormatError: a newer version kept that record.
        UnreachableError, StoreError: the store.
    """
    if not plan.groups:
        return plan
    try:
        history = read_history(repository, planned.restore_id)
        if history.planned.written_at_ms <= history.undone_at_ms:
            return plan
        before = decode_plan(history.planned.plan, f"the plan in the record of {planned.restore_id}")
    except (AccessError, DamageError):
        # None yet, or one that cannot be read: the restore says so when it writes its own.
        return plan
    named = {group: before.group_renames.get(group, group) for group in before.groups}
    notes = [
        _note(group.group, named[group.group], group.target_group)
        for group in plan.groups
        if named.get(group.group, group.target_group) != group.target_group
    ]
    return replace(plan, group_notes=(*plan.group_notes, *notes))


def _note(group: str, before: str, now: str) -> str:
    otherwise = f"with --rename-group {group}={before}" if before != group else "without its --rename-group"
    return f"an earlier run of this restore was to put {group} as {before}, this one puts it as {now}; if that is not meant: {otherwise}"
