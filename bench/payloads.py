"""Payload files: JSON lines as applications write them, nearly all distinct, so that compression ratios are honest.

A line holds what does not compress (identifiers, as digits or hex), what does a little (timestamps, prices, names) and what
does well (field names, event names); the long lines carry an order with its items and a note of words drawn as words are:
a few often, most seldom.
"""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["make_line", "write_payloads"]

_SYLLABLES = [
    "an",
    "ba",
    "ce",
    "do",
    "er",
    "fi",
    "go",
    "ha",
    "in",
    "ju",
    "ka",
    "lo",
    "mi",
    "no",
    "or",
    "pe",
    "qui",
    "ra",
    "st",
    "tu",
]
_VOCABULARY = 4000
_EVENTS = ["view", "click", "cart.add", "cart.remove", "order", "payment", "refund", "login", "logout", "search"]
_START_MS = 1_790_000_000_000
_LONG_LINE_BYTES = 400
_ITEM_BYTES = 70


def write_payloads(path: Path, *, line_bytes: int, lines: int, seed: int = 1) -> Path:
    """Write `lines` lines of exactly `line_bytes` bytes each (newline not counted), unless the file is there already."""
    if not path.exists():
        draft = path.with_suffix(".part")
        with draft.open("w", encoding="ascii") as out:
            out.writelines(line + "\n" for line in itertools.islice(_lines(line_bytes, random.Random(seed)), lines))
        draft.rename(path)
    return path


def _lines(line_bytes: int, draw: random.Random) -> Iterator[str]:
    words = ["".join(draw.choices(_SYLLABLES, k=draw.randint(1, 4))) for _ in range(_VOCABULARY)]
    weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(_VOCABULARY)))
    for number in itertools.count():
        yield make_line(line_bytes, number, draw, words, weights)


def make_line(
    line_bytes: int, number: int, draw: random.Random, words: Sequence[str], cumulative_weights: Sequence[float]
) -> str:
    """One JSON object in exactly `line_bytes` ASCII characters; its last text is cut or filled to fit.

    Raises ValueError when so few bytes cannot hold the fields.
    """
    record: dict[str, object] = {
        "id": draw.getrandbits(32),
        "t": _START_MS + number * 7,
        "ev": draw.choice(_EVENTS),
        "k": f"{draw.getrandbits(48):012x}",
    }
    if line_bytes >= _LONG_LINE_BYTES:
        record["session"] = f"{draw.getrandbits(128):032x}"
        record["user"] = {"id": draw.randrange(2_000_000), "name": f"{draw.choice(words)}.{draw.choice(words)}"}
        record["items"] = [_item(draw) for _ in range((line_bytes - _LONG_LINE_BYTES) // _ITEM_BYTES + 1)]
    text = json.dumps(record, separators=(",", ":"))[:-1] + ',"m":"'
    room = line_bytes - len(text) - len('"}')
    if room < 0:
        raise ValueError(f"{line_bytes} bytes are too few for a line: {-room} are missing")
    note = " ".join(draw.choices(words, cum_weights=cumulative_weights, k=room // 3 + 1))[:room]
    return f'{text}{note:<{room}}"}}'


def _item(draw: random.Random) -> dict[str, object]:
    return {
        "sku": f"{draw.getrandbits(40):010X}",
        "n": draw.randint(1, 9),
        "cents": draw.randrange(100_000),
        "ref": f"{draw.getrandbits(64):016x}",
    }
