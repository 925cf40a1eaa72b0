"""Every object key of a repository is built and parsed here, and nowhere else.

::

    repository.json
    topics/<topic>/<topic_id>/<captured_at_ms>.json
    l0/<day>/<hour>/<sealed_at_ms>-<writer>-<sequence>.seg
    index/l0/<day>/<hhmm>-<writer>.idx             one slot of ten minutes
    index/l0/<day>/day-<writer>.idx                a whole day
    snapshots/<taken_at_ms>-<name>.json            without a name: snapshots/<taken_at_ms>.json
    state/<captured_at_ms>.json
    groups/<topic_id>/<newest_record_ms>-<writer>.idx
    restores/<restore_id>/<written_at_ms>-<kind>.json
"""

import re
from datetime import UTC, datetime
from typing import NamedTuple

from mirror.errors import DamageError

__all__ = [
    "GROUPS_PREFIX",
    "LEVEL_0_PREFIX",
    "REPOSITORY_KEY",
    "RESTORES_PREFIX",
    "RESTORE_KINDS",
    "ROLLUP_PREFIX",
    "SLOT_MS",
    "SNAPSHOTS_PREFIX",
    "STATE_PREFIX",
    "TOPICS_PREFIX",
    "GroupCheckpointKey",
    "RestoreKey",
    "RollupKey",
    "SegmentKey",
    "SnapshotKey",
    "TopicKey",
    "day_of",
    "format_group_checkpoint_key",
    "format_restore_key",
    "format_rollup_key",
    "format_segment_key",
    "format_snapshot_key",
    "format_state_key",
    "format_topic_key",
    "parse_group_checkpoint_key",
    "parse_restore_key",
    "parse_rollup_key",
    "parse_segment_key",
    "parse_snapshot_key",
    "parse_state_key",
    "parse_topic_key",
    "segment_prefix",
    "slot_start_ms",
]

REPOSITORY_KEY = "repository.json"
TOPICS_PREFIX = "topics/"
LEVEL_0_PREFIX = "l0/"
ROLLUP_PREFIX = "index/l0/"
SNAPSHOTS_PREFIX = "snapshots/"
STATE_PREFIX = "state/"
GROUPS_PREFIX = "groups/"
RESTORES_PREFIX = "restores/"
RESTORE_KINDS = ("plan", "start", "end", "groups", "state", "mapping", "proof")
SLOT_MS = 10 * 60 * 1000
DAY_MS = 24 * 60 * 60 * 1000
_MOST_MS = 10**13  # names have 13 digits

_SEGMENT = re.compile(r"l0/(\d{4}-\d\d-\d\d)/(\d\d)/(\d{13})-([0-9a-z]{1,32})-(\d{10})\.seg", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TOPIC = re.compile(r"topics/([A-Za-z0-9._-]{1,249})/([A-Za-z0-9_-]{22})/(\d{13})\.json", re.ASCII)
_SNAPSHOT = re.compile(r"snapshots/(\d{13})(?:-([A-Za-z0-9][A-Za-z0-9._-]{0,63}))?\.json", re.ASCII)
_STATE = re.compile(r"state/(\d{13})\.json", re.ASCII)
_GROUPS = re.compile(r"groups/([A-Za-z0-9_-]{22})/(\d{13})-([0-9a-z]{1,32})\.idx", re.ASCII)
_RESTORE = re.compile(rf"restores/(r-[a-z2-7]{{10}})/(\d{{13}})-({'|'.join(RESTORE_KINDS)})\.json", re.ASCII)
_ROLLUP = re.compile(r"index/l0/(\d{4}-\d\d-\d\d)/(day|\d{4})-([0-9a-z]{1,32})\.idx", re.ASCII)


class SegmentKey(NamedTuple):
    """Level 0: sorts by time, unique per writer."""

    sealed_at_ms: int
    writer: str
    sequence: int


class TopicKey(NamedTuple):
    """One capture of one incarnation of a topic."""

    topic: str
    topic_id: str
    captured_at_ms: int


class SnapshotKey(NamedTuple):
    """A named recovery point; the name may be empty."""

    taken_at_ms: int
    name: str


class RestoreKey(NamedTuple):
    """One object of a restore's record; ``kind`` is one of `RESTORE_KINDS`."""

    restore_id: str
    written_at_ms: int
    kind: str


class RollupKey(NamedTuple):
    """A roll-up of the level-0 objects named in ``[start_ms, start_ms + length_ms)``."""

    start_ms: int
    length_ms: int
    writer: str


class GroupCheckpointKey(NamedTuple):
    """A checkpoint of the group log: sorts by what it has folded."""

    topic_id: str
    newest_record_ms: int
    writer: str


def _utc(timestamp_ms: int) -> datetime:
    return datetime.fromtimestamp(timestamp_ms // 1000, tz=UTC)


def day_of(timestamp_ms: int) -> str:
    """The UTC day as ``YYYY-MM-DD``."""
    return _utc(timestamp_ms).strftime("%Y-%m-%d")


def day_start_ms(day: str) -> int:
    """The first millisecond of a UTC day, ``YYYY-MM-DD``.

    Raises:
        DamageError: no such day.
    """
    try:
        if _DAY.fullmatch(day):
            start_ms = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
            if 0 <= start_ms < _MOST_MS:
                return start_ms
    except ValueError:
        pass
    raise DamageError(f"folder {LEVEL_0_PREFIX}{day} is not named as a day", hint="remove it: mirror never wrote it")


def slot_start_ms(timestamp_ms: int) -> int:
    """The first millisecond of the ten-minute slot."""
    return timestamp_ms - timestamp_ms % SLOT_MS


def segment_prefix(timestamp_ms: int) -> str:
    """The folder of level-0 objects sealed in that hour."""
    return f"{LEVEL_0_PREFIX}{_utc(timestamp_ms).strftime('%Y-%m-%d/%H')}/"


def format_segment_key(key: SegmentKey) -> str:
    """The object key of a level-0 segment.

    Raises:
        ValueError: the writer's name or a number does not fit: nothing could read the key back.
    """
    return _checked(_SEGMENT, f"{segment_prefix(key.sealed_at_ms)}{_segment_name(key)}")


def _segment_name(key: SegmentKey) -> str:
    return f"{key.sealed_at_ms:013d}-{key.writer}-{key.sequence:010d}.seg"


def _checked(pattern: re.Pattern[str], key: str) -> str:
    if not pattern.fullmatch(key):
        raise ValueError(f"no object can be named {key!r}")
    return key


def _matched(
    pattern: re.Pattern[str], key: str, what: str, *, hint: str = "remove or move it: mirror never wrote it"
) -> re.Match[str]:
    match = pattern.fullmatch(key)
    if not match:
        raise DamageError(f"object {key} is not named as {what}", hint=hint)
    return match


def parse_segment_key(key: str) -> SegmentKey:
    """The inverse of :func:`format_segment_key`.

    Raises:
        DamageError: not the key of a level-0 segment, or in another hour's folder than its name says.
    """
    match = _SEGMENT.fullmatch(key)
    if match:
        parsed = SegmentKey(int(match[3]), match[4], int(match[5]))
        if f"{segment_prefix(parsed.sealed_at_ms)}{_segment_name(parsed)}" == key:
            return parsed
    raise DamageError(
        f"object {key} is not named as a level-0 segment", hint="remove or move it: mirror never wrote it"
    )


def format_topic_key(key: TopicKey) -> str:
    """The object key of a topic object.

    Raises:
        ValueError: no topic can have that name or id.
    """
    return _checked(_TOPIC, f"{TOPICS_PREFIX}{key.topic}/{key.topic_id}/{key.captured_at_ms:013d}.json")


def parse_topic_key(key: str) -> TopicKey:
    """The inverse of :func:`format_topic_key`.

    Raises:
        DamageError: not the key of a topic object.
    """
    match = _matched(_TOPIC, key, "a topic object")
    return TopicKey(match[1], match[2], int(match[3]))


def format_snapshot_key(key: SnapshotKey) -> str:
    """The object key of a snapshot.

    Raises:
        ValueError: the name does not fit: 1 to 64 of letters, digits and ``._-``, beginning with a letter or digit.
    """
    name = f"-{key.name}" if key.name else ""
    return _checked(_SNAPSHOT, f"{SNAPSHOTS_PREFIX}{key.taken_at_ms:013d}{name}.json")


def parse_snapshot_key(key: str) -> SnapshotKey:
    """The inverse of :func:`format_snapshot_key`.

    Raises:
        DamageError: not the key of a snapshot.
    """
    match = _matched(_SNAPSHOT, key, "a snapshot")
    return SnapshotKey(int(match[1]), match[2] or "")


def format_state_key(captured_at_ms: int) -> str:
    """The object key of one capture of the cluster's state.

    Raises:
        ValueError: no such time.
    """
    return _checked(_STATE, f"{STATE_PREFIX}{captured_at_ms:013d}.json")


def parse_state_key(key: str) -> int:
    """The inverse of :func:`format_state_key`: ``captured_at_ms``.

    Raises:
        DamageError: not the key of a capture of the cluster's state.
    """
    match = _matched(_STATE, key, "a cluster state")
    return int(match[1])


def format_group_checkpoint_key(key: GroupCheckpointKey) -> str:
    """The object key of a checkpoint of the group log.

    Raises:
        ValueError: the writer's name, the topic id or the time does not fit.
    """
    return _checked(_GROUPS, f"{GROUPS_PREFIX}{key.topic_id}/{key.newest_record_ms:013d}-{key.writer}.idx")


def parse_group_checkpoint_key(key: str) -> GroupCheckpointKey:
    """The inverse of :func:`format_group_checkpoint_key`.

    Raises:
        DamageError: not the key of a checkpoint of the group log.
    """
    match = _matched(_GROUPS, key, "a checkpoint of the group log", hint="remove it: checkpoints are caches")
    return GroupCheckpointKey(match[1], int(match[2]), match[3])


def format_restore_key(key: RestoreKey) -> str:
    """The object key of an object of a restore's record.

    Raises:
        ValueError: no restore can have that id, or no such kind.
    """
    return _checked(_RESTORE, f"{RESTORES_PREFIX}{key.restore_id}/{key.written_at_ms:013d}-{key.kind}.json")


def parse_restore_key(key: str) -> RestoreKey:
    """The inverse of :func:`format_restore_key`.

    Raises:
        DamageError: not the key of an object of a restore's record.
    """
    match = _matched(_RESTORE, key, "a restore's record")
    return RestoreKey(match[1], int(match[2]), match[3])


def format_rollup_key(key: RollupKey) -> str:
    """The object key of a roll-up.

    Raises:
        ValueError: the writer's name does not fit.
    """
    span = "day" if key.length_ms == DAY_MS else _utc(key.start_ms).strftime("%H%M")
    return _checked(_ROLLUP, f"{ROLLUP_PREFIX}{day_of(key.start_ms)}/{span}-{key.writer}.idx")


def parse_rollup_key(key: str) -> RollupKey:
    """The inverse of :func:`format_rollup_key`.

    Raises:
        DamageError: not the key of a roll-up.
    """
    match = _ROLLUP.fullmatch(key)
    if match:
        start_ms = day_start_ms(match[1])
        if match[2] == "day":
            return RollupKey(start_ms, DAY_MS, match[3])
        start_ms += (int(match[2][:2]) * 60 + int(match[2][2:])) * 60_000
        parsed = RollupKey(start_ms, SLOT_MS, match[3])
        if format_rollup_key(parsed) == key and start_ms % SLOT_MS == 0:
            return parsed
    raise DamageError(f"object {key} is not named as a roll-up", hint="remove it: roll-ups are caches")
