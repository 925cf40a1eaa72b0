"""ACLs and client quotas that a restore put: what of them goes back, and what others have changed since."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from mirror.core.cluster_state import StateAcl, StateQuota, entity_key
from mirror.core.restore_record import RecordedQuota, RestoreHistory

__all__ = ["PutState", "QuotaUndo", "StateUndo", "plan_state_undo", "put_by"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PutState:
    """What a restore added and set, by its record."""

    acls: tuple[StateAcl, ...] = ()
    quotas: tuple[RecordedQuota, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUndo:
    """One limit: as it is recorded, and as it is now; ``present`` is None where there is none."""

    recorded: RecordedQuota
    present: float | None

    @property
    def action(self) -> Literal["nothing to do", "put back", "remove", "KEEP"]:
        """What is done with it; it is kept where it is neither what was put nor what was there before."""
        if self.present == self.recorded.before:
            return "nothing to do"
        if self.present != self.recorded.value:
            return "KEEP"
        return "remove" if self.recorded.before is None else "put back"

    @property
    def is_changed(self) -> bool:
        """Whether it goes back."""
        return self.action in ("put back", "remove")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateUndo:
    """What goes back.

    Attributes:
        acls: those that are still there: they are removed.
        quotas: all that were set.
        waits_for: topics that an abort keeps until a person says more: their ACLs, and all else here, stay with them.
    """

    acls: tuple[StateAcl, ...] = ()
    quotas: tuple[QuotaUndo, ...] = ()
    waits_for: tuple[str, ...] = ()

    @property
    def changed_quotas(self) -> list[QuotaUndo]:
        """Those that go back."""
        return [one for one in self.quotas if one.is_changed]

    @property
    def kept_quotas(self) -> list[QuotaUndo]:
        """Those that somebody changed since."""
        return [one for one in self.quotas if one.action == "KEEP"]

    @property
    def has_changes(self) -> bool:
        """Whether anything goes back."""
        return bool(self.acls or self.changed_quotas)

    @property
    def shown(self) -> PutState:
        """Only what goes back: it is looked at once more right before."""
        return PutState(acls=self.acls, quotas=tuple(one.recorded for one in self.changed_quotas))


def put_by(history: RestoreHistory) -> PutState:
    """What all runs since the last complete abort put, together."""
    acls: dict[StateAcl, None] = {}
    quotas: dict[tuple[object, str], RecordedQuota] = {}
    for written in history.states:
        if written.written_at_ms <= history.undone_at_ms:
            continue
        acls.update(dict.fromkeys(written.acls))
        for quota in written.quotas:
            key = entity_key(quota.entity), quota.name
            earlier = quotas.get(key)
            if earlier is not None and quota.before == earlier.value:  # what was there was ours
                quota = msgspec.structs.replace(quota, before=earlier.before)
            quotas[key] = quota
    return PutState(acls=tuple(acls), quotas=tuple(quotas.values()))


def plan_state_undo(put: PutState, acls: Collection[StateAcl], quotas: Iterable[StateQuota]) -> StateUndo:
    """What goes back of ``put``, as the target has these ACLs and quotas now."""
    present = {entity_key(quota.entity): quota.values for quota in quotas}
    return StateUndo(
        acls=tuple(acl for acl in put.acls if acl in acls),
        quotas=tuple(
            QuotaUndo(recorded=one, present=present.get(entity_key(one.entity), {}).get(one.name)) for one in put.quotas
        ),
    )
