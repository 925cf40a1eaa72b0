"""Where the cells of a table go: as wide as it needs to be, and on a narrow terminal still legible.

Numbers are never broken. On a narrow terminal, in this order: remarks move below their row, columns that a person can do without are left
out (and named), long texts are folded; where nothing helps, each row becomes a block of lines.
"""

import textwrap
from collections.abc import Collection, Iterable, Sequence

__all__ = ["table_lines"]

_GAP = 2
_LEAST_TEXT = 20
_TIGHT_TEXT = 12
_INDENT = 4
_PADDED_TEXT = 60


def table_lines(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    width: int | None = None,
    right: Collection[str] = (),
    fixed: Collection[str] = (),
    below: Collection[str] = (),
    optional: Sequence[str] = (),
) -> list[str]:
    """The lines of a table, header first, without spaces at their ends.

    Args:
        columns: names.
        rows: cells of one line each.
        width: of the terminal; None for no limit.
        right: columns of numbers: aligned to the right, never broken.
        fixed: others that are never broken.
        below: go below their row if the table is too wide.
        optional: are left out if it is still too wide, the first ones first.
    """
    cells = [[" ".join(cell.split("\n")) for cell in row] for row in rows]
    natural = {name: max(map(_width, (name, *(row[i] for row in cells)))) for i, name in enumerate(columns)}
    shown, under, left_out = list(columns), [], []
    whole = frozenset(right) | frozenset(fixed)
    if width is not None and _sum(natural, shown) > width:
        under = [name for name in columns if name in below]
        shown = [name for name in columns if name not in below]
        least = {name: size if name in whole else min(size, _LEAST_TEXT) for name, size in natural.items()}
        for name in optional:
            if _sum(least, shown) <= width:
                break
            shown.remove(name)
            left_out.append(name)
        if _sum(least, shown) > width:
            least = {name: size if name in whole else min(size, _TIGHT_TEXT) for name, size in natural.items()}
        if _sum(least, shown) > width:
            return _blocks(columns, cells, width)
        sizes = _spread(natural, least, shown, width)
    elif width is None:  # one very long name is no reason to pad all the others
        sizes = {name: size if name in whole else min(size, _PADDED_TEXT) for name, size in natural.items()}
    else:
        sizes = natural
    places = [(columns.index(name), sizes[name], name in right) for name in shown]
    lines = _folded(list(columns), places, fold=width is not None)
    lines.append((" " * _GAP).join("─" * size for _, size, _ in places))
    for row in cells:
        lines += _folded(row, places, fold=width is not None)
        for name in under:
            if (text := row[columns.index(name)]) not in ("", "–"):
                lines += _wrapped(f"{name}: {text}", width or 0, " " * _INDENT)
    if left_out:
        lines += _wrapped(f"({', '.join(left_out)}: on a wider terminal, or with --json)", width or 0, "")
    return [line.rstrip() for line in lines]


def _width(text: str) -> int:
    from rich.cells import cell_len  # not for --help

    return cell_len(text)


def _sum(sizes: dict[str, int], shown: Sequence[str]) -> int:
    return sum(sizes[name] for name in shown) + _GAP * max(0, len(shown) - 1)


def _spread(natural: dict[str, int], least: dict[str, int], shown: Sequence[str], width: int) -> dict[str, int]:
    """What is left over goes to the folded columns, those that need little first."""
    sizes = dict(least)
    folded = sorted((name for name in shown if natural[name] > least[name]), key=lambda name: natural[name])
    spare = width - _sum(least, shown)
    for number, name in enumerate(folded):
        more = min(natural[name] - least[name], spare // (len(folded) - number))
        sizes[name] += more
        spare -= more
    return sizes


def _folded(row: Sequence[str], places: Sequence[tuple[int, int, bool]], *, fold: bool) -> list[str]:
    parts = [_wrapped(row[i], size, "") if fold and _width(row[i]) > size else [row[i]] for i, size, _ in places]
    return [
        (" " * _GAP).join(
            _padded(part[number] if number < len(part) else "", size, to_right)
            for part, (_, size, to_right) in zip(parts, places, strict=True)
        )
        for number in range(max(map(len, parts)))
    ]


def _padded(text: str, size: int, to_right: bool) -> str:
    spaces = " " * max(0, size - _width(text))
    return spaces + text if to_right else text + spaces


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text, max(width, _TIGHT_TEXT), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    ) or [""]


def _blocks(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[str]:
    margin = max(map(len, columns)) + _GAP
    lines: list[str] = []
    for row in cells:
        for name, text in zip(columns, row, strict=True):
            parts = _wrapped(text, width - margin, "")
            lines += [f"{name if number == 0 else '':<{margin}}{part}" for number, part in enumerate(parts)]
        lines.append("")
    return lines[:-1]
