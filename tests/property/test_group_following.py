"""Whoever follows events knows where groups stand as one who reads all of it does: whatever is told twice, late, out of order or never."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core.events import SealedEvent, sealed_event
from mirror.core.group_log import CommitKey
from mirror.service.group_following import FollowedGroups, GroupFollower
from mirror.service.groups import read_groups
from tests.property.test_group_checkpoints import History, steps

tellings = st.lists(
    st.sampled_from(("told", "told", "told", "later", "twice", "never", "forget")), min_size=60, max_size=60
)


def event_of(history: History, key: str) -> SealedEvent:
    """As the writer of the object sends it."""
    index, size_bytes = history.builder.repository.read_index(key)
    return sealed_event(key, size_bytes, index)


def as_read(history: History) -> dict[CommitKey, int]:
    """What a reader of everything finds."""
    view = read_groups(history.builder.repository, history.coverages())
    return {
        CommitKey(group, tp.topic, tp.partition): position.offset
        for group, positions in view.groups.items()
        for tp, position in positions.items()
    }


def as_followed(found: FollowedGroups | None) -> dict[CommitKey, int]:
    """The same of one that followed."""
    assert found is not None
    return {key: position.offset for key, position in found.positions.items()}


@settings(max_examples=200)
@given(log=steps, tellings=tellings)
def test_following_comes_to_what_reading_everything_comes_to(
    log: list[tuple[str, str, int, int, int, str]], tellings: list[str]
) -> None:
    """Compared whenever all that is stored was told, at the latest by the last event."""
    history = History()
    follower = GroupFollower(history.builder.repository)
    late: list[SealedEvent] = []
    is_whole = True
    for (*step, then), telling in zip(log, tellings, strict=False):
        history.write(*step)  # type: ignore[arg-type]
        key = history.put() if then == "put" else ""
        if not key:
            continue
        event = event_of(history, key)
        if telling == "never":
            is_whole = False
            continue
        if telling == "later":
            late.append(event)
            continue
        if telling == "forget":
            follower.forget()
            is_whole = True
        found = follower.follow([event, event, *late] if telling == "twice" else [*late[::-1], event])
        late.clear()
        assert not is_whole or as_followed(found) == as_read(history)
    history.write("commit", "a", 0, 1, 1)
    history.write("commit", "b", 1, 1, 1)
    assert as_followed(follower.follow([*late, event_of(history, history.put())])) == as_read(history)
