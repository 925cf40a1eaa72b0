"""Which topics are backed up: a pure function of a name and the user's rules.

Exclusion wins over inclusion, whatever is more specific. ``__*`` and the mirror's own topics are always excluded, those of other
mirrors on the same cluster unless they are named literally: two mirrors that back up each other's would feed each other for ever.
Everything else is excluded only by a rule of the user, and every decision names its rule.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

__all__ = ["OWN_TOPIC_SUFFIXES", "Decision", "TopicFilter", "problem_of_glob", "problem_of_regex"]

_LONGEST_TOPIC = 249  # Kafka's own limit
_GLOB = re.compile(r"[A-Za-z0-9._\-*?\[\]!]+", re.ASCII)

OWN_TOPIC_SUFFIXES: Final = {
    "sealed": "-sealed",
    "ledger": "-ledger-changelog",
    "groups": "-groups-changelog",
    "assignor": "-__assignor-__leader",
}
"""Purpose of a mirror's own topic → what follows the mirror's id in its name."""

_TELLTALE: Final = ("sealed", "ledger", "assignor")  # those that every version of the mirror has

_Rules = tuple[tuple["re.Pattern[str]", str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a topic is backed up, and by which rule, in words for a person."""

    selected: bool
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFilter:
    """The rules of one worker.

    ``include`` and ``exclude`` are literals or globs (``*``, ``?``, ``[seq]``, case matters); the ``_regex`` ones are
    matched against the whole name. ``own_prefix`` and ``own_topics`` name the mirror's own topics; an empty prefix
    matches nothing. ``others_topics`` are topic → id of another mirror, see :meth:`among`.

    Raises:
        ValueError: a pattern does not compile, or can never match a topic; names it and says why.
    """

    include: tuple[str, ...] = ("*",)
    include_regex: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_regex: tuple[str, ...] = ()
    own_prefix: str = ""
    own_topics: frozenset[str] = frozenset()
    others_topics: Mapping[str, str] = field(default_factory=dict, hash=False)
    _include_rules: _Rules = field(init=False, repr=False, compare=False)
    _exclude_rules: _Rules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        include = _compile(self.include, self.include_regex, "topics", "topics_regex")
        exclude = _compile(self.exclude, self.exclude_regex, "exclude", "exclude_regex")
        object.__setattr__(self, "_include_rules", include)
        object.__setattr__(self, "_exclude_rules", exclude)

    def decide(self, topic: str) -> Decision:
        """Whether to back up this topic, and why."""
        if topic.startswith("__"):
            return Decision(selected=False, rule=f"internal topic {topic}")
        if topic in self.own_topics or (self.own_prefix and topic.startswith(self.own_prefix)):
            return Decision(selected=False, rule=f"the mirror's own topic {topic}")
        other = self.others_topics.get(topic)
        if other is not None and topic not in self.include:
            return Decision(selected=False, rule=f"own topic of another mirror, {other}")
        for pattern, rule in self._exclude_rules:
            if pattern.fullmatch(topic):
                return Decision(selected=False, rule=f"excluded by rule {rule}")
        for pattern, rule in self._include_rules:
            if pattern.fullmatch(topic):
                return Decision(selected=True, rule=f"included by rule {rule}")
        return Decision(selected=False, rule="not matched by any include rule")

    def among(self, topics: Iterable[str]) -> "TopicFilter":
        """These rules on a cluster that has these topics: the own topics of other mirrors are recognised there.

        A name alone tells nothing (users have topics named ``…-sealed``): it is a mirror's where the topics exist that every mirror has.
        """
        names = frozenset(topics)
        leader, telltale = OWN_TOPIC_SUFFIXES["assignor"], [OWN_TOPIC_SUFFIXES[purpose] for purpose in _TELLTALE]
        ids = (name.removesuffix(leader) for name in names - self.own_topics if name.endswith(leader))
        others = {
            f"{mirror_id}{suffix}": mirror_id
            for mirror_id in ids
            if mirror_id and all(f"{mirror_id}{suffix}" in names for suffix in telltale)
            for suffix in OWN_TOPIC_SUFFIXES.values()
        }
        return replace(self, others_topics=others)

    def select(self, topics: Iterable[str]) -> list[str]:
        """The topics to back up, sorted."""
        return sorted(topic for topic in topics if self.decide(topic).selected)


def problem_of_glob(pattern: str) -> str | None:
    """Why this literal or glob can never match a topic name, or None."""
    if not pattern:
        return "it is empty"
    if not _GLOB.fullmatch(pattern):
        wrong = next(char for char in pattern if not _GLOB.fullmatch(char))
        return f"no topic name holds {wrong!r}; a regular expression belongs in the _regex setting"
    if len(pattern.replace("*", "")) > _LONGEST_TOPIC and "[" not in pattern:
        return f"a topic name has at most {_LONGEST_TOPIC} characters"
    return _unclosed_bracket(pattern)


def _unclosed_bracket(pattern: str) -> str | None:
    """Such a bracket stands for itself, and no topic name holds one."""
    rest = re.sub(r"\[!?+.[^\]]*\]", "", pattern)  # a closing bracket that comes first is one of the set
    return f"the bracket {wrong[0]!r} has no counterpart" if (wrong := re.search(r"[\[\]]", rest)) else None


def problem_of_regex(pattern: str) -> str | None:
    """Why this regular expression cannot be used, or None."""
    if not pattern:
        return "it is empty"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return None


def _compile(globs: tuple[str, ...], regexes: tuple[str, ...], globs_name: str, regexes_name: str) -> _Rules:
    rules: list[tuple[re.Pattern[str], str]] = []
    for glob in globs:
        if problem := problem_of_glob(glob):
            raise ValueError(f"{globs_name}={glob!r}: {problem}")
        rules.append((re.compile(fnmatch.translate(glob)), f"{globs_name}={glob!r}"))
    for regex in regexes:
        if problem := problem_of_regex(regex):
            raise ValueError(f"{regexes_name}={regex!r}: {problem}")
        rules.append((re.compile(regex), f"{regexes_name}={regex!r}"))
    return tuple(rules)
