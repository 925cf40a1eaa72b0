"""Every object that is listed, against every object that is named: foreign, missing and hidden ones; and the small JSON objects."""

from dataclasses import dataclass, field

from mirror.core.keys import (
    DAY_MS,
    LEVEL_0_PREFIX,
    REPOSITORY_KEY,
    ROLLUP_PREFIX,
    TOPICS_PREFIX,
    RollupKey,
    day_of,
    parse_rollup_key,
    parse_segment_key,
    parse_topic_key,
)
from mirror.core.rollup import RolledObject, Rollup, decode_rollup
from mirror.core.segment.index import TopicObject, decode_checked
from mirror.errors import DamageError, ObjectNotFoundError, UnsupportedFormatError
from mirror.service.verify_findings import Finding, Note, VerifyReport, findings_of_runs
from mirror.service.verify_small import SMALL_PREFIXES, check_small_name
from mirror.service.verify_threads import bounded_map
from mirror.storage.object_store import ObjectInfo
from mirror.storage.probing import PROBE_FOLDER
from mirror.storage.repository import Repository

__all__ = ["Listing", "check_rollups", "check_topics", "list_objects"]

_UNREADABLE = (DamageError, UnsupportedFormatError)


@dataclass(slots=True)
class Listing:
    """Everything the store lists, sorted by what it is."""

    segments: dict[str, ObjectInfo] = field(default_factory=dict)
    rollups: dict[str, RollupKey] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)


def list_objects(repository: Repository, report: VerifyReport) -> Listing:
    """One listing of the whole repository; what mirror never wrote is a finding in its folders and a note elsewhere."""
    listing = Listing()
    for info in repository.store.list(""):
        try:
            if info.key.startswith(LEVEL_0_PREFIX):
                parse_segment_key(info.key)
                listing.segments[info.key] = info
            elif info.key.startswith(ROLLUP_PREFIX):
                listing.rollups[info.key] = parse_rollup_key(info.key)
            elif info.key.startswith(TOPICS_PREFIX):
                parse_topic_key(info.key)
                listing.topics.append(info.key)
            elif info.key.startswith(SMALL_PREFIXES):
                check_small_name(info.key)
                listing.small.append(info.key)
            elif info.key != REPOSITORY_KEY and not info.key.startswith(PROBE_FOLDER):
                report.notes.append(Note(kind="unknown_object", message=f"{info.key}: not an object of this version"))
        except DamageError as error:
            report.findings.append(Finding(kind="object_foreign", object_key=info.key, message=error.message))
    return listing


def check_rollups(
    repository: Repository, listing: Listing, report: VerifyReport, topics: frozenset[str] | None
) -> tuple[dict[str, RolledObject], set[str]]:
    """Read all roll-ups: what they name must be there.

    Returns:
        All objects that roll-ups name, by key; and the keys of those that are there but hidden from readers, because the roll-up of
        their finished day does not name them.
    """
    named: dict[str, RolledObject] = {}
    named_by_day: dict[str, set[str]] = {}
    for (key, span), rollup in bounded_map(lambda item: _read_rollup(repository, item[0]), listing.rollups.items()):
        if isinstance(rollup, Exception):
            report.findings.append(Finding(kind="rollup_damaged", object_key=key, message=_cache_message(rollup)))
            continue
        if (rollup.start_ms, rollup.length_ms) != (span.start_ms, span.length_ms):
            message = f"{key}: holds another span: roll-ups were swapped; they are caches: delete it"
            report.findings.append(Finding(kind="rollup_damaged", object_key=key, message=message))
            continue
        report.counts.rollups += 1
        named.update((entry.key, entry) for entry in rollup.objects)
        if span.length_ms == DAY_MS:
            named_by_day.setdefault(day_of(span.start_ms), set()).update(entry.key for entry in rollup.objects)
    for key, entry in named.items():
        if key not in listing.segments:
            message = f"{key}: a roll-up names it, the store does not have it"
            report.findings += findings_of_runs("object_missing", key, entry.index.runs, message, topics)
    hidden = set()
    for key in listing.segments:
        day = key[len(LEVEL_0_PREFIX) :].partition("/")[0]
        if day in named_by_day and key not in named_by_day[day]:
            hidden.add(key)
    return named, hidden


def _read_rollup(repository: Repository, key: str) -> Rollup | Exception:
    try:
        rollup = decode_rollup(repository.store.get(key), key)
    except (*_UNREADABLE, ObjectNotFoundError) as error:
        return error
    if rollup.repository_id != repository.identity.repository_id:
        return DamageError(f"{key}: belongs to repository {rollup.repository_id}")
    return rollup


def _cache_message(error: Exception) -> str:
    return f"{error}; nothing is lost, roll-ups are caches: delete it and a worker makes it again"


def check_topics(repository: Repository, listing: Listing, report: VerifyReport) -> list[TopicObject]:
    """Read every topic object; those that are sound."""
    sound = []
    for key, topic in bounded_map(lambda name: _read_topic(repository, name), listing.topics):
        if isinstance(topic, Exception):
            parsed = parse_topic_key(key)
            report.findings.append(
                Finding(
                    kind="topic_damaged",
                    object_key=key,
                    message=str(topic),
                    topic=parsed.topic,
                    topic_id=parsed.topic_id,
                )
            )
            continue
        report.counts.topics += 1
        sound.append(topic)
    return sound


def _read_topic(repository: Repository, key: str) -> TopicObject | Exception:
    try:
        topic = decode_checked(TopicObject, repository.store.get(key), key)
    except (*_UNREADABLE, ObjectNotFoundError) as error:
        return error
    if (topic.topic, topic.topic_id, topic.captured_at_ms) != parse_topic_key(key):
        return DamageError(f"{key}: holds another topic's object: objects were swapped")
    return topic
