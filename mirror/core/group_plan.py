"""Consumer groups in a restore's plan, as values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from mirror.core.positions import TopicPartition
from mirror.errors import UsageError

__all__ = ["GroupChoice", "GroupPlan", "PlannedPosition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChoice:
    """Which groups a restore puts where they stood; without names all that have a position in what is restored.

    Raises UsageError for a regular expression that is none.
    """

    is_wanted: bool = True
    globs: tuple[str, ...] = ()
    regexes: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for regex in self.regexes:
            try:
                re.compile(regex)
            except re.error as error:
                raise UsageError(f"--group-regex {regex}: {error}") from None

    @property
    def names_any(self) -> bool:
        """Whether groups are named, so that none matching is an error."""
        return bool(self.globs or self.regexes or self.renames)

    def matches(self, group: str) -> bool:
        """Whether the group is wanted."""
        if not (self.globs or self.regexes):
            return True
        return any(fnmatchcase(group, glob) for glob in self.globs) or any(
            re.fullmatch(regex, group) for regex in self.regexes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPosition:
    """One position of a group: ``source_offset`` as it was committed, for ``source`` of the repository, to be put for ``target``."""

    source: TopicPartition
    target: TopicPartition
    source_offset: int
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """One group; ``target_group`` is its name on the target, ``elsewhere`` counts its positions in what is not restored."""

    group: str
    target_group: str
    positions: tuple[PlannedPosition, ...]
    elsewhere: int
