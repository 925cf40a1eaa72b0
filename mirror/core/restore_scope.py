"""How much of a moment a restore brings: all, state only, data only; and what of the cluster's state beside topics."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["RestoreScope", "StateChoice"]


class RestoreScope(StrEnum):
    """What is done to topics."""

    ALL = "all"  # topics are made, loaded and configured
    STATE = "state"  # topics are made and configured, and stay empty; no groups
    DATA = "data"  # records and groups into topics that exist, which keep their settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChoice:
    """What is restored of the cluster's state beside topics.

    Attributes:
        acls: ACLs that name a restored topic or group, or a prefix of one.
        all_acls: all ACLs, whatever they name.
        quotas: client quotas, all of them.
        captured_at_ms: of which capture; None: the one that held at the recovery point.
    """

    acls: bool = False
    all_acls: bool = False
    quotas: bool = False
    captured_at_ms: int | None = None

    @property
    def wants_acls(self) -> bool:
        """Whether any ACLs are wanted."""
        return self.acls or self.all_acls

    @property
    def is_wanted(self) -> bool:
        """Whether anything is."""
        return self.wants_acls or self.quotas
