"""Cuts that split no transaction: random logs of several partitions against a model that tries every combination of prefixes."""

import random
from dataclasses import dataclass, field
from itertools import product

import pytest

from mirror.core.positions import PartitionId
from mirror.core.transaction_pieces import SeenBatch, TransactionPiece, find_pieces
from mirror.core.whole_transactions import TransactionVerdicts, group_pieces, settle_cuts

PLACES = [PartitionId("A" * 22, number) for number in range(3)]


@dataclass
class World:
    """Logs that producers write at the same time; each producer ends a transaction everywhere before it begins the next one."""

    choose: random.Random
    counts_epochs: bool
    now_ms: int = 0
    logs: dict[PartitionId, list[SeenBatch]] = field(default_factory=lambda: {place: [] for place in PLACES})
    ends: dict[PartitionId, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    true_pieces: dict[tuple[int, int], dict[PartitionId, list[int]]] = field(default_factory=dict)
    cuts: dict[PartitionId, int] = field(default_factory=dict)

    def append(self, place: PartitionId, producer_id: int, epoch: int, sequence: int, *, marker: bool) -> int:
        """One batch; its offset."""
        offset = self.ends[place]
        self.logs[place].append(
            SeenBatch(
                offset, offset + 1, producer_id, epoch, sequence, self.now_ms, True if marker else None, self.now_ms
            )
        )
        self.ends[place] = offset + 1
        return offset

    def run(self, length: int) -> None:
        """Producers take steps in a random order; somewhere in the middle each partition is looked at, at another time."""
        producers = [_Producer(self, number) for number in range(self.choose.randint(1, 3))]
        looks = {place: self.choose.randint(length // 3, length - 1) for place in PLACES}
        for step in range(length):
            self.now_ms += self.choose.choice([3, 5, 20])
            self.choose.choice(producers).step()
            for place in PLACES:
                if looks[place] == step:
                    unstable = [p.open[place] for p in producers if place in p.open]
                    self.cuts[place] = min([self.ends[place], *unstable])
        for producer in producers:
            while producer.open:
                self.now_ms += 5
                producer.end()

    def splits(self, cuts: dict[PartitionId, int]) -> bool:
        """Whether these cuts split one, by what is known for certain."""
        for pieces in self.true_pieces.values():
            states = {offset < cuts[place] for place, offsets in pieces.items() for offset in offsets}
            if len(states) > 1:
                return True
        return False


class _Producer:
    def __init__(self, world: World, number: int) -> None:
        self.world, self.id, self.epoch, self.transactions = world, 4000 + number, 0, 0
        self.sequences: dict[PartitionId, int] = {}
        self.open: dict[PartitionId, int] = {}

    def step(self) -> None:
        if self.open and self.world.choose.random() < 0.4:
            self.end()
            return
        place = self.world.choose.choice(PLACES)
        sequence = self.sequences.get(place, 0)
        offset = self.world.append(place, self.id, self.epoch, sequence, marker=False)
        self.sequences[place] = sequence + 1
        self.open.setdefault(place, offset)
        self.world.true_pieces.setdefault((self.id, self.transactions), {}).setdefault(place, []).append(offset)

    def end(self) -> None:
        counting = self.world.counts_epochs
        self.epoch += counting
        for place in sorted(self.open, key=lambda _: self.world.choose.random()):
            self.world.append(place, self.id, self.epoch, -1, marker=True)
        self.sequences = {} if counting else self.sequences
        self.open, self.transactions = {}, self.transactions + 1


def best_cuts(world: World) -> dict[PartitionId, int]:
    """The largest prefixes within the cuts that split nothing, by trying all of them."""
    fitting = [
        cuts
        for offsets in product(*(range(world.cuts[place] + 1) for place in PLACES))
        if not world.splits(cuts := dict(zip(PLACES, offsets, strict=True)))
    ]
    return {place: max(cuts[place] for cuts in fitting) for place in PLACES}


def found_pieces(world: World) -> list[TransactionPiece]:
    """As from reading all of it."""
    return [
        piece
        for place in PLACES
        for piece in find_pieces(place, world.logs[place], settled_offsets=[0], open_ms=world.now_ms)
    ]


@pytest.mark.parametrize("counts_epochs", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_cuts_are_the_largest_prefixes_that_split_none(seed: int, counts_epochs: bool) -> None:
    """Nothing split, nothing that was cut comes back, and not an offset less than must be."""
    world = World(random.Random(seed), counts_epochs)
    world.run(24)
    pieces = found_pieces(world)
    assert all(piece.is_start_known for piece in pieces)
    settled = settle_cuts(group_pieces(pieces), world.cuts)
    assert not world.splits(settled.next_offsets)
    assert all(settled.next_offsets[place] <= world.cuts[place] for place in PLACES)
    wanted = best_cuts(world)
    # A cut behind the last data of what is kept says the same as one a few markers later.
    kept = {
        place: {b.base_offset for b in world.logs[place] if b.is_commit is None and b.base_offset < cut}
        for place, cut in settled.next_offsets.items()
    }
    best = {
        place: {b.base_offset for b in world.logs[place] if b.is_commit is None and b.base_offset < cut}
        for place, cut in wanted.items()
    }
    if counts_epochs:
        assert kept == best
        assert settled.next_offsets == wanted
    else:  # times may take two transactions of one producer for one: never the other way round
        assert all(kept[place] <= best[place] for place in PLACES)
    assert set(settled.because) == {place for place in PLACES if settled.next_offsets[place] < world.cuts[place]}


@pytest.mark.parametrize("counts_epochs", [True, False])
def test_transactions_that_all_write_everywhere_are_told_apart(counts_epochs: bool) -> None:
    """However often: the markers of one lie closer together than those of two."""
    logs: dict[PartitionId, list[SeenBatch]] = {place: [] for place in PLACES}
    for number in range(200):
        epoch = number if counts_epochs else 0
        for lag_ms, place in enumerate(PLACES):
            offset = 2 * number
            logs[place].append(SeenBatch(offset, offset + 1, 9, epoch, 0 if counts_epochs else number, 0))
            logs[place].append(
                SeenBatch(offset + 1, offset + 2, 9, epoch + counts_epochs, -1, 7 * number + lag_ms, True)
            )
    pieces = [p for place in PLACES for p in find_pieces(place, logs[place], settled_offsets=[0], open_ms=10_000)]
    grouped = group_pieces(pieces)
    assert len(grouped) == 200
    assert all({piece.start_offset for piece in one} == {one[0].start_offset} for one in grouped)
    assert settle_cuts(grouped, dict(zip(PLACES, (200, 301, 222), strict=True))).next_offsets == dict.fromkeys(
        PLACES, 200
    )


def test_a_transaction_between_an_open_one_and_the_last_stable_offset_is_cut_as_a_whole() -> None:
    """A last stable offset lies at the first record of the open one, which may be inside of one that has ended since."""
    first, open_one = 1, 2
    log = [
        SeenBatch(0, 1, first, 0, 0, 0),
        SeenBatch(1, 2, open_one, 0, 0, 0),
        SeenBatch(2, 3, first, 0, 1, 0),
        SeenBatch(3, 4, first, 0, -1, 50, True),
        SeenBatch(4, 5, open_one, 0, -1, 9000, True),
    ]
    pieces = find_pieces(PLACES[0], log, settled_offsets=[0], open_ms=9000)
    assert settle_cuts(group_pieces(pieces), {PLACES[0]: 1}).next_offsets == {PLACES[0]: 0}
    assert settle_cuts(group_pieces(pieces), {PLACES[0]: 5}).next_offsets == {PLACES[0]: 5}


def test_pieces_say_what_they_do_not_know() -> None:
    """Without an earlier marker, a first sequence or an offset at which none was open, a piece may begin earlier."""
    data, marker = SeenBatch(10, 11, 7, 3, 5, 0), SeenBatch(12, 13, 7, 3, -1, 40, True)
    place = PLACES[0]

    def starts(*batches: SeenBatch, settled: tuple[int, ...] = ()) -> list[tuple[int, int, bool, bool]]:
        found = find_pieces(place, batches, settled_offsets=settled, open_ms=99)
        return [(p.start_offset, p.next_offset, p.is_start_known, p.has_marker) for p in found]

    assert starts(data, marker) == [(10, 11, False, True)]
    assert starts(data, marker, settled=(10,)) == [(10, 11, True, True)]
    assert starts(data, marker, settled=(11,)) == [(10, 11, False, True)]
    assert starts(data._replace(base_sequence=0), marker) == [(10, 11, True, True)]
    assert starts(SeenBatch(8, 9, 7, 3, -1, 0, True), data, marker) == [(8, 8, False, True), (10, 11, True, True)]
    assert starts(data) == [(10, 11, False, False)]
    assert starts(data, marker._replace(is_commit=False)) == []


def test_positions_follow_the_records_of_their_transaction() -> None:
    """By epoch where it is the transaction's own, else by the nearest time; of strangers nothing is known."""
    place, other = PLACES[:2]

    def piece(at: PartitionId, producer_id: int, epoch: int, start: int, ms: int, *, own: bool) -> TransactionPiece:
        return TransactionPiece(
            partition_id=at,
            producer_id=producer_id,
            producer_epoch=epoch,
            start_offset=start,
            next_offset=start + 1,
            marker_ms=ms,
            is_start_known=True,
            is_epoch_own=own,
        )

    pieces = [piece(place, 1, epoch, epoch, 100 * epoch, own=True) for epoch in (1, 2)]
    pieces += [piece(at, 2, 0, 10 * n, 5000 * n, own=False) for n in (1, 2) for at in (place, other)]
    transactions = group_pieces(pieces)
    settled = settle_cuts(transactions, {place: 2, other: 15})
    verdict = TransactionVerdicts(transactions, settled.outside)
    assert (verdict(1, 1, 0), verdict(1, 2, 0), verdict(1, 3, 0)) == (True, False, None)
    assert (verdict(2, 0, 5100), verdict(2, 0, 9800), verdict(2, 0, 7500)) == (False, False, None)
    assert verdict(3, 0, 5000) is None


def test_a_marker_that_was_written_late_stays_with_its_transaction() -> None:
    """Though it comes closer to those of the next one: the records' times tell."""
    logs: dict[PartitionId, list[SeenBatch]] = {place: [] for place in PLACES}
    for number in range(10):
        begun_ms = 1000 + 400 * number
        for place in PLACES:
            late_ms = 300 if place == PLACES[2] and number % 2 else 0
            offset = 2 * number
            logs[place].append(SeenBatch(offset, offset + 1, 9, 0, number, begun_ms + 2, None, begun_ms))
            logs[place].append(SeenBatch(offset + 1, offset + 2, 9, 0, -1, begun_ms + 60 + late_ms, True))
    pieces = [p for place in PLACES for p in find_pieces(place, logs[place], settled_offsets=[0], open_ms=10_000)]
    grouped = group_pieces(pieces)
    assert len(grouped) == 10
    assert all({piece.start_offset for piece in one} == {one[0].start_offset} for one in grouped)
