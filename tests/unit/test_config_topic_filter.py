"""Which topics are backed up, and the rule that decided."""

import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mirror.core.topic_filter import Decision, TopicFilter, problem_of_glob


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("orders", Decision(selected=True, rule="included by rule topics='orders'")),
        ("pay-1", Decision(selected=True, rule="included by rule topics='pay-*'")),
        ("log.eu.7", Decision(selected=True, rule=r"included by rule topics_regex='log\\.[a-z]+\\.\\d'")),
        ("pay-tmp", Decision(selected=False, rule="excluded by rule exclude='*-tmp'")),
        ("pay-x9", Decision(selected=False, rule="excluded by rule exclude_regex='.*x\\\\d'")),
        ("Orders", Decision(selected=False, rule="not matched by any include rule")),
        ("orders2", Decision(selected=False, rule="not matched by any include rule")),
        ("__consumer_offsets", Decision(selected=False, rule="internal topic __consumer_offsets")),
        ("w-table-changelog", Decision(selected=False, rule="the mirror's own topic w-table-changelog")),
        ("events-of-w", Decision(selected=False, rule="the mirror's own topic events-of-w")),
    ],
)
def test_decision_names_its_rule(topic: str, expected: Decision) -> None:
    """Globs and regular expressions match whole names, case matters, exclusion wins."""
    rules = TopicFilter(
        include=("orders", "pay-*", "__*", "w-*", "events-of-w"),
        include_regex=(r"log\.[a-z]+\.\d",),
        exclude=("*-tmp",),
        exclude_regex=(r".*x\d",),
        own_prefix="w-",
        own_topics=frozenset({"events-of-w"}),
    )
    assert rules.decide(topic) == expected


def test_exclusion_wins_over_a_literal() -> None:
    """A topic named literally is still excluded by a glob."""
    assert not TopicFilter(include=("tmp-1",), exclude=("tmp-*",)).decide("tmp-1").selected


def test_own_topics_of_another_mirror_are_left_out_unless_named() -> None:
    """A mirror is recognised by its three topics together; a user's own topic of such a name is backed up."""
    trio = {"m2-sealed", "m2-ledger-changelog", "m2-__assignor-__leader"}
    ours = {"m1-sealed", "m1-ledger-changelog", "m1-__assignor-__leader"}
    names = {"orders", "letters-sealed", "app-__assignor-__leader", "app-ledger-changelog", *trio, *ours}
    rules = TopicFilter(own_topics=frozenset(ours)).among(names)
    assert rules.select(names) == ["app-__assignor-__leader", "app-ledger-changelog", "letters-sealed", "orders"]
    assert rules.decide("m2-sealed") == Decision(selected=False, rule="own topic of another mirror, m2")
    assert rules.others_topics == dict.fromkeys({*trio, "m2-groups-changelog"}, "m2")
    named = TopicFilter(include=("m2-sealed",), own_topics=frozenset(ours)).among(names)
    assert named.select(names) == ["m2-sealed"]
    assert TopicFilter().among(names - {"m2-sealed"}).decide("m2-ledger-changelog").selected


def test_without_prefix_nothing_is_own() -> None:
    """An empty prefix matches nothing."""
    assert TopicFilter().select(["b", "a", "__x"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"include": ("",)}, "topics='': it is empty"),
        ({"include": ("a/b",)}, "no topic name holds '/'"),
        ({"exclude": ("a|b",)}, "belongs in the _regex setting"),
        ({"include_regex": ("[",)}, "topics_regex='\\['"),
        ({"exclude_regex": ("",)}, "exclude_regex='': it is empty"),
        ({"include": ("x" * 250,)}, "at most 249"),
    ],
)
def test_useless_pattern_is_refused(rules: dict[str, tuple[str, ...]], expected: str) -> None:
    """A pattern that does not compile or can never match is an error that names it."""
    with pytest.raises(ValueError, match=expected):
        TopicFilter(**rules)  # type: ignore[arg-type]


@given(st.text(alphabet="ab._-[]!*?", min_size=1, max_size=12), st.text(alphabet="ab._-", min_size=1, max_size=12))
def test_every_glob_decides(glob: str, topic: str) -> None:
    """Any glob that is not refused compiles and decides, and excluding is the opposite of including."""
    assume(problem_of_glob(glob) is None)
    included = TopicFilter(include=(glob,)).decide(topic)
    excluded = TopicFilter(exclude=(glob,)).decide(topic)
    if topic.startswith("__"):
        assert not included.selected
    else:
        assert included.selected != excluded.selected


@given(st.text(min_size=1, max_size=20))
def test_any_regex_is_used_or_refused(regex: str) -> None:
    """A regular expression compiles or is refused with a ValueError."""
    with contextlib.suppress(ValueError):
        assert TopicFilter(include_regex=(regex,)).decide("a").rule
