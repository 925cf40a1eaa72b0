"""How slices of the group log are taken in: without the commits of mirrors, see :mod:`mirror.core.own_groups`."""

from collections.abc import Collection
from dataclasses import replace

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.own_groups import OwnGroups
from mirror.core.slices import FetchSlice

__all__ = ["GroupIntake"]


class GroupIntake:
    """Used from one event loop.

    Args:
        own_groups: the names of the groups of all mirrors of the cluster, as far as they are known yet.
    """

    def __init__(self, own_groups: Collection[str]) -> None:
        self._own = OwnGroups(own_groups)

    def know(self, own_groups: Collection[str]) -> None:
        """The names that are known now."""
        if frozenset(own_groups) != self._own.names:
            self._own = OwnGroups(own_groups)

    def take_in(self, piece: FetchSlice) -> tuple[FetchSlice, bool]:
        """The slice as it is to be stored, and whether it is quiet: it held nothing but commits of mirrors."""
        if piece.topic != GROUP_LOG_TOPIC:
            return piece, False
        body = self._own.without(piece.body)
        if body is piece.body:
            return piece, False
        is_quiet = not len(body.columns)
        return replace(piece, body=body, lease=None if is_quiet else piece.lease), is_quiet
