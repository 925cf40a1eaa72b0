"""A repository: typed objects over the keys of a store."""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from mirror.core.keys import (
    DAY_MS,
    LEVEL_0_PREFIX,
    REPOSITORY_KEY,
    ROLLUP_PREFIX,
    TOPICS_PREFIX,
    RollupKey,
    TopicKey,
    day_start_ms,
    format_rollup_key,
    format_topic_key,
    parse_rollup_key,
    parse_segment_key,
    parse_topic_key,
)
from mirror.core.rollup import RolledObject, Rollup, decode_rollup, encode_rollup, rolled_object
from mirror.core.segment.index import (
    FORMAT_VERSION,
    RepositoryObject,
    RunEntry,
    SegmentIndex,
    TopicObject,
    decode_checked,
    encode_checked,
)
from mirror.core.segment.layout import TRAILER_BYTES, checksum_of, decode_index, decode_trailer
from mirror.errors import (
    DamageError,
    ObjectExistsError,
    ObjectNotFoundError,
    RepositoryNotFoundError,
    WrongRepositoryError,
)
from mirror.storage.object_store import ObjectInfo, ObjectStore

__all__ = ["DAMAGED_BODY_HINT", "Repository", "create_repository", "open_repository"]

DAMAGED_BODY_HINT = (
    "`mirror verify` lists every damaged range; a restore with --allow-missing brings all but these offsets; a sound copy of the "
    "object in its place mends all"
)

_FOOTER_GUESS_BYTES = 64 << 10
_READERS = 16
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Repository:
    """An opened repository of one source cluster. Its methods block; every error is of :mod:`mirror.errors`."""

    store: ObjectStore
    identity: RepositoryObject

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        return self.store.address

    def require_cluster(self, cluster_id: str) -> None:
        """Refuse another cluster.

        Raises:
            WrongRepositoryError: the repository belongs to another source cluster.
        """
        if cluster_id != self.identity.cluster_id:
            raise WrongRepositoryError(
                f"repository {self.address} belongs to cluster {self.identity.cluster_id}, not to {cluster_id}",
                hint="one repository holds one source cluster: give this cluster another bucket or prefix",
            )

    # --- segments

    def read_index(self, key: str) -> tuple[SegmentIndex, int]:
        """The footer index of a segment object and the object's size in bytes.

        Raises:
            DamageError: the object is not what was written.
            ObjectNotFoundError: no such object.
        """
        tail, object_bytes = self.store.get_suffix(key, _FOOTER_GUESS_BYTES)
        trailer = decode_trailer(tail, object_bytes, key)
        needed = trailer.index_stored_bytes + TRAILER_BYTES
        if needed > len(tail):
            tail, object_bytes = self.store.get_suffix(key, needed)
        index = decode_index(tail, object_bytes, key)
        if index.repository_id != self.identity.repository_id:
            raise DamageError(
                f"{key}: belongs to repository {index.repository_id}, this is {self.identity.repository_id}"
            )
        named = parse_segment_key(key)
        # The name is given when the put begins: later than the sealing where the store was away for a while.
        if (index.writer, index.sequence) != (named.writer, named.sequence) or index.sealed_at_ms > named.sealed_at_ms:
            raise DamageError(
                f"{key}: holds segment {index.writer}-{index.sequence} of {index.sealed_at_ms}: objects were swapped or renamed"
            )
        return index, object_bytes

    def read_run(self, key: str, run: RunEntry) -> bytes:
        """The stored bytes of a run, its checksum verified.

        Raises:
            DamageError: the bytes are not what was written; names topic, partition and offsets.
        """
        stored = self.store.get_range(key, run.position, run.stored_bytes) if run.stored_bytes else b""
        if len(stored) != run.stored_bytes or checksum_of((stored,)) != run.checksum:
            raise DamageError(
                f"{key}: run of {run.topic_partition} [{run.start_offset}, {run.next_offset}) does not match its checksum",
                hint=DAMAGED_BODY_HINT,
            )
        return stored

    def list_segments(self, prefix: str = LEVEL_0_PREFIX) -> Iterator[ObjectInfo]:
        """Every level-0 object, by time."""
        return self.store.list(prefix)

    def load_indexes(
        self,
        *,
        on_progress: Callable[[int], None] | None = None,
        on_damage: Callable[[str, Exception], None] | None = None,
        since_ms: int = 0,
        list_all: bool = False,
    ) -> list[RolledObject]:
        """The (shortened) indexes of all segment objects, without samples: roll-ups where they exist, footers for the rest.

        Args:
            on_progress: called with the number of objects known so far.
            on_damage: called with the key and the error of an object that cannot be read; without it the error is raised.
            since_ms: leave out days that ended before.
            list_all: list finished days too, so that an object which only a roll-up knows is told (a request for each 1,000 objects).
        """
        found: dict[str, RolledObject] = {}
        for day in self.store.list_folders(LEVEL_0_PREFIX):
            span = _parsed(day_start_ms, day, f"{LEVEL_0_PREFIX}{day}/", on_damage)
            if span is None or span + DAY_MS <= since_ms:
                continue
            rolled, is_whole = self._rolled_up(day, on_damage)
            missing: list[ObjectInfo] = []
            if list_all or not is_whole:
                missing, gone = self.compare_with_listing(day, rolled, on_damage)
                for key in gone:
                    del rolled[key]
            found.update(rolled)
            if on_progress:
                on_progress(len(found))
            for entry in self.read_indexes(missing, on_damage):
                found[entry.key] = msgspec.structs.replace(entry, samples=[])
                if on_progress:
                    on_progress(len(found))
        return [found[key] for key in sorted(found)]

    def _rolled_up(
        self, day: str, on_damage: Callable[[str, Exception], None] | None
    ) -> tuple[dict[str, RolledObject], bool]:
        """The objects that roll-ups of a day name, and whether one of them is of the whole day.

        That of a slot is never taken as complete: what it does not name is found by listing the day, which costs little.
        """
        listed = [info.key for info in self.store.list(f"{ROLLUP_PREFIX}{day}/")]
        named = [(key, _parsed(parse_rollup_key, key, key, on_damage)) for key in listed]
        keys = [(key, span) for key, span in named if span is not None]
        whole = [key for key, span in keys if span.length_ms == DAY_MS]
        found: dict[str, RolledObject] = {}
        is_whole = False
        for key, span in keys:
            if whole and span.length_ms != DAY_MS:
                continue
            try:
                rollup = self._read_rollup(key, span)
            except (DamageError, ObjectNotFoundError) as error:
                # A roll-up is a cache: the footers it stood for are read instead.
                if on_damage:
                    on_damage(key, error)
                continue
            found.update((entry.key, entry) for entry in rollup.objects)
            is_whole = is_whole or span.length_ms == DAY_MS
        return found, is_whole

    def _read_rollup(self, key: str, span: RollupKey) -> Rollup:
        rollup = decode_rollup(self.store.get(key), key, with_samples=False)
        self.require_rollup(rollup, key, span)
        return rollup

    def require_rollup(self, rollup: Rollup, key: str, span: RollupKey) -> None:
        """Refuse a roll-up that is of another repository or of another span than its name says.

        Raises:
            DamageError: it is.
        """
        if rollup.repository_id != self.identity.repository_id:
            raise DamageError(
                f"{key}: belongs to repository {rollup.repository_id}, this is {self.identity.repository_id}"
            )
        if (rollup.start_ms, rollup.length_ms) != (span.start_ms, span.length_ms):
            raise DamageError(f"{key}: is the roll-up of another span: objects were swapped")

    def compare_with_listing(
        self, day: str, rolled: Collection[str], on_damage: Callable[[str, Exception], None] | None
    ) -> tuple[list[ObjectInfo], list[str]]:
        """The objects of a day that no roll-up names, and those that one names (``rolled``) and that are not there any more.

        Raises:
            DamageError: one is not there any more, or a name is foreign, and ``on_damage`` is None.
        """
        unrolled: list[ObjectInfo] = []
        gone = set(rolled)
        for info in self.store.list(f"{LEVEL_0_PREFIX}{day}/"):
            gone.discard(info.key)
            named = None if info.key in rolled else _parsed(parse_segment_key, info.key, info.key, on_damage)
            if named is not None:
                unrolled.append(info)
        for key in sorted(gone):
            error = DamageError(f"{key}: a roll-up names it, but it is gone", hint="`mirror verify` says what it held")
            if on_damage is None:
                raise error
            on_damage(key, error)
        return unrolled, sorted(gone)

    def read_indexes(
        self, infos: Sequence[ObjectInfo], on_damage: Callable[[str, Exception], None] | None
    ) -> Iterator[RolledObject]:
        """The indexes of these objects, in their order; without those that cannot be read, which ``on_damage`` is told.

        Raises:
            DamageError, ObjectNotFoundError: an object cannot be read, and ``on_damage`` is None.
        """

        def read(info: ObjectInfo) -> RolledObject | None:
            try:
                index, size_bytes = self.read_index(info.key)
            except (DamageError, ObjectNotFoundError) as error:
                if on_damage is None:
                    raise
                on_damage(info.key, error)
                return None
            return rolled_object(info.key, size_bytes, index)

        if not infos:
            return
        with ThreadPoolExecutor(min(_READERS, len(infos)), thread_name_prefix="footers") as pool:
            for entry in pool.map(read, infos):
                if entry is not None:
                    yield entry

    # --- roll-ups

    def put_rollup(self, span: RollupKey, objects: list[RolledObject], created_at_ms: int) -> None:
        """Store a roll-up. The caller waits until no object of the span can still appear."""
        rollup = Rollup(
            repository_id=self.identity.repository_id,
            start_ms=span.start_ms,
            length_ms=span.length_ms,
            created_at_ms=created_at_ms,
            objects=objects,
        )
        self.store.put(format_rollup_key(span), encode_rollup(rollup))

    # --- topics

    def put_topic(self, topic: TopicObject) -> None:
        """Store one capture of a topic."""
        key = format_topic_key(TopicKey(topic.topic, topic.topic_id, topic.captured_at_ms))
        self.store.put(key, encode_checked(topic))

    def list_topics(
        self,
        *,
        as_of_ms: int | None = None,
        topics: Collection[str] | None = None,
        on_damage: Callable[[str, Exception], None] | None = None,
        read_before: Iterable[TopicObject] = (),
    ) -> list[TopicObject]:
        """The newest capture of every incarnation of every topic.

        Args:
            as_of_ms: the newest of those made until then, or the first one where all are later.
            topics: only these; None for all.
            on_damage: called with the key and the error of an object that cannot be read; without it the error is raised.
            read_before: captures that are at hand, which are not read again.

        Raises:
            DamageError: a topic object is not what was written.
        """
        newest: dict[tuple[str, str], TopicKey] = {}
        for info in self.store.list(TOPICS_PREFIX):
            key = _parsed(parse_topic_key, info.key, info.key, on_damage)
            if key is None or (topics is not None and key.topic not in topics):
                continue
            known = newest.get((key.topic, key.topic_id))
            if known is None or _counts_more(key.captured_at_ms, known.captured_at_ms, as_of_ms):
                newest[(key.topic, key.topic_id)] = key

        at_hand = {TopicKey(one.topic, one.topic_id, one.captured_at_ms): one for one in read_before}

        def read(key: TopicKey) -> TopicObject | None:
            if key in at_hand:
                return at_hand[key]
            name = format_topic_key(key)
            try:
                return self._read_topic(name, key)
            except DamageError as error:
                if on_damage is None:
                    raise
                on_damage(name, error)
                return None

        with ThreadPoolExecutor(_READERS, thread_name_prefix="topics") as pool:
            return [topic for topic in pool.map(read, newest.values()) if topic is not None]

    def _read_topic(self, name: str, key: TopicKey) -> TopicObject:
        topic = decode_checked(TopicObject, self.store.get(name), name)
        if (topic.topic, topic.topic_id, topic.captured_at_ms) != key:
            raise DamageError(f"{name}: holds another topic's object: objects were swapped")
        return topic


def _counts_more(captured_at_ms: int, known_ms: int, as_of_ms: int | None) -> bool:
    if as_of_ms is None or (captured_at_ms <= as_of_ms and known_ms <= as_of_ms):
        return captured_at_ms > known_ms
    return captured_at_ms < known_ms


def _parsed(
    parse: Callable[[str], _T], text: str, key: str, on_damage: Callable[[str, Exception], None] | None
) -> _T | None:
    """A parsed name; a foreign one is reported and left out, or raised where nobody takes the report."""
    try:
        return parse(text)
    except DamageError as error:
        if on_damage is None:
            raise
        on_damage(key, error)
        return None


def create_repository(store: ObjectStore, *, cluster_id: str, created_at_ms: int, created_by: str) -> Repository:
    """Make an empty repository for a source cluster; one of several concurrent callers wins, the others see what it made.

    Raises:
        WrongRepositoryError: one exists, for another cluster.
    """
    identity = RepositoryObject(
        format_version=FORMAT_VERSION,
        repository_id=str(uuid.uuid4()),
        cluster_id=cluster_id,
        created_at_ms=created_at_ms,
        created_by=created_by,
    )
    try:
        store.put_new(REPOSITORY_KEY, encode_checked(identity))
    except ObjectExistsError:
        existing = open_repository(store)
        existing.require_cluster(cluster_id)
        return existing
    return Repository(store, identity)


def open_repository(store: ObjectStore) -> Repository:
    """Open what is there.

    Raises:
        RepositoryNotFoundError: nothing is there.
        UnsupportedFormatError: a newer mirror made it.
    """
    try:
        data = store.get(REPOSITORY_KEY)
    except ObjectNotFoundError:
        raise RepositoryNotFoundError(
            f"no repository at {store.address}",
            hint="`mirror init` makes one; check the url for a wrong bucket or prefix",
        ) from None
    return Repository(store, decode_checked(RepositoryObject, data, f"{store.address}: {REPOSITORY_KEY}"))
