"""The incarnation of a topic that a person names: by its id, or by the first characters of it."""

from collections.abc import Iterable

from mirror.errors import NoMatchError, RefusedError

__all__ = ["named_incarnation"]


def named_incarnation(topic: str, named: str, stored: Iterable[str]) -> str:
    """The one topic id that is ``named``, or begins so.

    Args:
        topic: its name, for messages.
        named: what the person typed.
        stored: the topic ids that the repository has of it.

    Raises:
        NoMatchError: none is; lists those that are stored.
        RefusedError: several begin so; lists them.
    """
    known = sorted(stored)
    matching = [topic_id for topic_id in known if topic_id.startswith(named)] if named else []
    if named in matching:
        return named
    if not matching:
        raise NoMatchError(
            f"topic {topic} has no incarnation {named} in the repository", hint="stored: " + ", ".join(known)
        )
    if len(matching) > 1:
        raise RefusedError(
            f"the ids of {len(matching)} incarnations of topic {topic} begin with {named}: {', '.join(matching)}",
            hint="say more of the one that is meant",
        )
    return matching[0]
