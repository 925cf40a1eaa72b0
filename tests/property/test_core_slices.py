"""Slices against a simple model of a log with transactions."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core.record_batch import read_header
from mirror.core.slices import read_slice
from tests.builders import a_batch, a_marker

PRODUCERS = (1, 2)
STEPS = st.lists(
    st.tuples(st.sampled_from(["data", "abort", "commit", "plain"]), st.sampled_from(PRODUCERS), st.integers(1, 3)),
    min_size=6,
    max_size=30,
)


@dataclass
class ModelLog:
    """A log as brokers write it, and what a read_committed consumer may see of it."""

    batches: list[bytes] = field(default_factory=list)
    visible: list[bool] = field(default_factory=list)  # of each batch; markers count as visible
    aborted: list[tuple[int, int, int]] = field(default_factory=list)  # producer, first offset, offset of the marker
    open_since: dict[int, int] = field(default_factory=dict)
    next_offset: int = 0

    def step(self, kind: str, producer: int, n: int) -> None:
        """One batch or marker."""
        if kind == "plain":
            self._append(a_batch(self.next_offset, n, producer_id=producer), n)
        elif kind == "data":
            self.open_since.setdefault(producer, self.next_offset)
            self._append(a_batch(self.next_offset, n, producer_id=producer, transactional=True), n)
        elif producer in self.open_since:
            first = self.open_since.pop(producer)
            if kind == "abort":
                self.aborted.append((producer, first, self.next_offset))
                for number, batch in enumerate(self.batches):
                    header = read_header(batch)
                    is_data = header.attributes & 0x30 == 0x10
                    if header.producer_id == producer and is_data and header.base_offset >= first:
                        self.visible[number] = False
            self._append(a_marker(self.next_offset, producer, commit=kind == "commit"), 1)

    def _append(self, batch: bytes, n: int) -> None:
        self.batches.append(batch)
        self.visible.append(True)
        self.next_offset += n

    def answer(self, fetch_offset: int, count: int) -> tuple[bytes, list[tuple[int, int]], list[bytes], int]:
        """What a broker sends from ``fetch_offset``: bytes, aborted transactions, the visible batches, the position after."""
        stable = min(self.open_since.values(), default=self.next_offset)
        picked = [
            (batch, is_visible)
            for batch, is_visible in zip(self.batches, self.visible, strict=True)
            if read_header(batch).next_offset > fetch_offset and read_header(batch).base_offset < stable
        ][:count]
        upto = read_header(picked[-1][0]).next_offset if picked else fetch_offset
        # As a broker does, every aborted transaction that overlaps the range, in the order of their markers.
        listed = [
            (producer, first) for producer, first, marker in self.aborted if marker >= fetch_offset and first < upto
        ]
        return b"".join(batch for batch, _ in picked), listed, [b for b, is_visible in picked if is_visible], upto


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(0, 40), st.integers(1, 20))
def test_slice_is_what_a_read_committed_consumer_sees(
    steps: list[tuple[str, int, int]], fetch_offset: int, count: int
) -> None:
    """For any interleaving of transactions and any position: committed data and markers, nothing aborted, nothing lost."""
    log = ModelLog()
    for step in steps:
        log.step(*step)
    data, aborted, visible, upto = log.answer(min(fetch_offset, log.next_offset), count)
    body = read_slice(data, min(fetch_offset, log.next_offset), aborted)
    assert b"".join(body.parts) == b"".join(visible)
    assert body.next_offset == upto
    assert body.has_markers == any(read_header(batch).is_control for batch in visible)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.lists(st.integers(1, 4), min_size=1))
def test_slices_one_after_another_are_the_whole_log(steps: list[tuple[str, int, int]], sizes: list[int]) -> None:
    """Fetching on from each slice's next_offset gives every visible batch once, whatever the sizes of the answers."""
    log = ModelLog()
    for step in steps:
        log.step(*step)
    position = number = 0
    got: list[bytes] = []
    while True:
        data, aborted, _, upto = log.answer(position, sizes[number % len(sizes)])
        if not data:
            break
        body = read_slice(data, position, aborted)
        got += [bytes(part) for part in body.parts]
        assert body.next_offset == upto > position
        position = body.next_offset
        number += 1
    _, _, everything, _ = log.answer(0, 1000)
    assert b"".join(got) == b"".join(everything)
