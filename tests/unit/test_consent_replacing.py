"""Topics are destroyed only if their number is typed, or given."""

import sys
from dataclasses import replace

import click
import pytest

from mirror.cli.consent_replacing import confirm_replacing
from mirror.core.not_empty import DoomedLog, UnstoredRange
from mirror.core.restore_plan import RestorePlan, TopicState
from mirror.errors import RefusedError
from mirror.service.restore.doomed import refuse_unstored
from tests.unit.test_restore_plan import _plan, _topic


def _replacing(count: int) -> RestorePlan:
    """A plan that destroys so many of three topics."""
    plan = _plan([_topic("a"), _topic("b"), _topic("c")], [])
    topics = [
        replace(topic, state=TopicState.REPLACED) if number < count else topic
        for number, topic in enumerate(plan.topics)
    ]
    return replace(plan, topics=tuple(topics))


def test_nothing_is_asked_where_nothing_is_destroyed() -> None:
    """Neither of a person nor of a script."""
    confirm_replacing(_replacing(0), yes=False, count=None)


def test_a_script_gives_the_number() -> None:
    """That many or more; fewer, or none, is refused with what to give."""
    confirm_replacing(_replacing(2), yes=True, count=2)
    confirm_replacing(_replacing(2), yes=True, count=3)
    for count in (None, 0, 1):
        with pytest.raises(RefusedError) as refused:
            confirm_replacing(_replacing(2), yes=True, count=count)
        assert "a, b" in refused.value.message
        assert "--replace-topics 2" in (refused.value.hint or "")


def test_without_a_terminal_nobody_can_be_asked() -> None:
    """Refused, also if the number is given without --yes."""
    with pytest.raises(RefusedError, match="2 topics"):
        confirm_replacing(_replacing(2), yes=False, count=2)


def test_on_a_terminal_the_number_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else refuses."""
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    typed = iter(["yes", "3", "2"])
    monkeypatch.setattr(click, "prompt", lambda *_, **__: next(typed))
    for _ in range(2):
        with pytest.raises(RefusedError, match="was not typed"):
            confirm_replacing(_replacing(2), yes=False, count=None)
    confirm_replacing(_replacing(2), yes=False, count=None)


def test_what_is_stored_nowhere_needs_a_word_of_its_own() -> None:
    """Every range is named, up to twenty; with the word nothing is refused."""
    ranges = tuple(UnstoredRange(10 * number, 10 * number + 2, 2) for number in range(25))
    log = DoomedLog(partition=4, start_offset=0, next_offset=500, records=400, unstored=ranges)
    plan = _replacing(1)
    plan = replace(plan, topics=(replace(plan.topics[0], doomed=(log,)), *plan.topics[1:]))
    with pytest.raises(RefusedError) as refused:
        refuse_unstored(plan)
    assert "50 records" in refused.value.message
    assert "a-4: [190, 192), 2 records" in refused.value.message
    assert "and 5 ranges more" in refused.value.message
    refuse_unstored(replace(plan, discard_unstored=True))
