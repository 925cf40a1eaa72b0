"""A repository in memory to search with `mirror cat`, and the requests that a search costs."""

from collections.abc import Sequence
from typing import Any

from mirror.core.record_filter import RecordFilter
from mirror.core.segment.runs import RunDraft
from mirror.service.cat import CatReport, FoundRecord, RecordSearch
from mirror.service.cat_choice import CatSelection, choose
from mirror.storage.memory import MemoryStore
from mirror.storage.metered import MeteredStore
from mirror.storage.repository import Repository
from tests.builders import T0_MS, a_repository, a_run_draft, a_segment, a_slice


class Book:
    """A repository in memory, object by object, and the requests that were made to it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.store = MemoryStore()
        metered = MeteredStore(self.store, lambda operation, *_: self.calls.append(operation))
        self.repository: Repository = a_repository(metered)
        self.sequence = 0

    def put(self, *drafts: RunDraft, mode: Any = "passthrough", **entries: Any) -> str:
        """The next object, ten seconds after the last one; its key."""
        self.sequence += 1
        key, data, _ = a_segment(
            *drafts,
            sealed_at_ms=T0_MS + self.sequence * 10_000,
            sequence=self.sequence,
            mode=mode,
            repository_id=self.repository.identity.repository_id,
            **entries,
        )
        self.store.put(key, data)
        return key

    def cat(self, topic: str = "orders", **asked: Any) -> tuple[list[FoundRecord], CatReport]:
        """Everything that is found, and the report."""
        of_filter = {name: asked.pop(name) for name in ("since_ms", "until_ms", "key", "pattern") if name in asked}
        partitions = frozenset(asked.pop("partitions", ()))
        selection = CatSelection(topic=topic, partitions=partitions, filter=RecordFilter(**of_filter), **asked)
        search = RecordSearch(self.repository, choose(self.repository, selection), selection)
        return list(search.records()), search.report


def draft(*batches: bytes, start_offset: int = 0, **more: Any) -> RunDraft:
    """One run."""
    return a_run_draft(a_slice(*batches, start_offset=start_offset, **more))


def offsets(found: Sequence[FoundRecord]) -> list[int]:
    """Of the records, in their order."""
    return [one.record.offset for one in found]
