"""`mirror cat` tells what it cannot show: what is lost, damaged or gone, and names that are not there."""

import pytest

from mirror.core.positions import TopicPartition
from mirror.core.segment.index import GapEntry, StartEntry, TopicObject
from mirror.errors import NoMatchError, RefusedError
from mirror.service.cat import RecordSearch
from mirror.service.cat_choice import CatSelection, choose
from tests.builders import T0_MS, TOPIC_ID, a_batch
from tests.cat_book import Book, draft, offsets

OTHER_ID = "BBBBBBBBBBBBBBBBBBBBBB"


@pytest.fixture
def book() -> Book:
    """Empty."""
    return Book()


def _gap(start_offset: int, next_offset: int, detected_at_ms: int) -> GapEntry:
    return GapEntry(
        topic="orders",
        topic_id=TOPIC_ID,
        partition=0,
        start_offset=start_offset,
        next_offset=next_offset,
        reason="retention",
        detected_at_ms=detected_at_ms,
    )


def test_gaps_and_missing_offsets_are_told(book: Book) -> None:
    """With the reason, as far as the search came; missing ones are damage."""
    book.put(draft(a_batch(0, 5)))
    book.put(draft(a_batch(9, 1), start_offset=9), gaps=[_gap(5, 9, T0_MS)])
    gone = book.put(draft(a_batch(10, 5), start_offset=10))
    book.put(draft(a_batch(15, 5), start_offset=15))
    _, report = book.cat()
    assert report.lost == [(TopicPartition("orders", 0), 5, 9, "retention", T0_MS)]
    assert not report.is_damaged
    book.store.delete(gone)
    found, report = book.cat()
    assert len(found) == 11
    assert [lost[1:4] for lost in report.lost] == [(5, 9, "retention"), (10, 15, None)]
    assert report.is_damaged
    assert book.cat(limit=3)[1].lost == []
    assert [lost.start_offset for lost in book.cat(limit=6)[1].lost] == [5]
    assert [lost.start_offset for lost in book.cat(from_offset=9)[1].lost] == [10]
    assert [lost.start_offset for lost in book.cat(since_ms=T0_MS + 1)[1].lost] == [10]


@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
def test_a_damaged_run_is_told_and_the_rest_shown(book: Book, mode: str) -> None:
    """Also the other partitions of the same object."""
    book.put(draft(a_batch(0, 5)), mode=mode)
    key = book.put(draft(a_batch(5, 5), start_offset=5), draft(a_batch(0, 5), partition=1), mode=mode)
    book.put(draft(a_batch(10, 5), start_offset=10), mode=mode)
    body = bytearray(book.store.get(key))
    body[16 + 61] ^= 1
    book.store.put(key, bytes(body))
    found, report = book.cat()
    assert offsets([one for one in found if one.partition == 0]) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert offsets([one for one in found if one.partition == 1]) == [0, 1, 2, 3, 4]
    assert report.is_damaged
    (message,) = report.damaged
    assert key in message
    assert "orders-0 [5, 10)" in message


def test_a_batch_that_does_not_open_is_told(book: Book) -> None:
    """What stands around it is shown; a producer may write such a batch, and it is stored as it came."""
    book.put(draft(a_batch(0, 2), a_batch(2, 2, codec=3, body=b"no lz4 at all"), a_batch(4, 2)))
    found, report = book.cat()
    assert offsets(found) == [0, 1, 4, 5]
    (message,) = report.damaged
    assert "lz4" in message


def test_objects_that_vanish_while_reading(book: Book) -> None:
    """One request tells that all runs of it are gone."""
    keys = [book.put(draft(a_batch(n * 5, 5), start_offset=n * 5)) for n in range(2)]
    selection = CatSelection(topic="orders")
    search = RecordSearch(book.repository, choose(book.repository, selection), selection)
    book.store.delete(keys[0])
    assert offsets(list(search.records())) == [5, 6, 7, 8, 9]
    assert "an object is gone" in search.report.damaged[0]


def test_an_unreadable_footer_is_told(book: Book) -> None:
    """Nobody knows whether it held something of the topic."""
    book.put(draft(a_batch(0, 5)))
    key = book.put(draft(a_batch(5, 5), start_offset=5))
    book.store.put(key, book.store.get(key)[:-1])
    found, report = book.cat()
    assert len(found) == 5
    assert report.is_damaged
    assert key in report.damaged[0]


def test_several_incarnations_need_a_choice(book: Book) -> None:
    """A table of them, the newest first; the id chooses."""
    book.put(draft(a_batch(0, 5)))
    book.put(draft(a_batch(0, 2), topic_id=OTHER_ID))
    with pytest.raises(RefusedError, match="which incarnation") as caught:
        book.cat()
    first, second = caught.value.message.splitlines()[1:]
    assert f"{OTHER_ID}  1 partition, 2 records, the newest of 2026-11-18T11:06:40.001Z, last backed up" in first
    assert f"{TOPIC_ID}  1 partition, 5 records" in second
    assert caught.value.hint == f"say which: mirror cat orders --incarnation {OTHER_ID}"
    assert len(book.cat(incarnation=OTHER_ID)[0]) == 2
    with pytest.raises(NoMatchError, match="no incarnation"):
        book.cat(incarnation="nope")


def test_names_that_are_not_there(book: Book) -> None:
    """The nearest ones are named; so are the partitions that are stored."""
    with pytest.raises(NoMatchError) as caught:
        book.cat()
    assert caught.value.hint == "the repository is empty"
    book.put(draft(a_batch(0, 5)), draft(a_batch(0, 5), topic="payments"))
    with pytest.raises(NoMatchError, match="nothing is stored of topic order") as caught:
        book.cat("order")
    assert caught.value.hint == "the nearest names: orders"
    with pytest.raises(NoMatchError) as caught:
        book.cat("x")
    assert caught.value.hint == "`mirror inspect` lists the 2 topics that are"
    with pytest.raises(NoMatchError, match="orders:3, orders:7") as caught:
        book.cat(partitions=[0, 3, 7])
    assert caught.value.hint == "stored partitions: 0"


def test_topics_without_records(book: Book) -> None:
    """A partition of which only the start is stored is empty, a topic of which only the settings are is not there yet."""
    start = StartEntry(
        topic="orders", topic_id=TOPIC_ID, partition=0, start_offset=0, reason="earliest", recorded_at_ms=T0_MS
    )
    book.put(starts=[start])
    assert book.cat()[0] == []
    book.repository.put_topic(
        TopicObject(
            format_version=1,
            topic="silent",
            topic_id=OTHER_ID,
            partition_count=1,
            replication_factor=1,
            configs={},
            captured_at_ms=T0_MS,
        )
    )
    with pytest.raises(NoMatchError, match="only the settings"):
        book.cat("silent")
