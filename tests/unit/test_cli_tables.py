"""Tables on a narrow terminal: numbers whole, nothing wider than it, and nothing lost without a word."""

import pytest

from mirror.cli.tables import table_lines

COLUMNS = ("topic", "parts", "lag", "overlap", "stored", "remarks")
ROWS = [
    ("orders", "12", "1,234,567", "0", "268.0 MiB", ""),
    ("a.topic-with.a-very-long-name." * 3, "312", "0", "17", "1.5 GiB", "open transaction since 2026-11-23T02:41:07Z"),
]


def lines(width: int | None) -> list[str]:
    """The table at that width."""
    right = ("parts", "lag", "overlap", "stored")
    return table_lines(COLUMNS, ROWS, width=width, right=right, below=("remarks",), optional=("overlap",))


def test_without_a_limit_each_row_is_one_line() -> None:
    """As in a pipe."""
    shown = lines(None)
    assert len(shown) == 2 + len(ROWS)
    assert shown[0].split() == list(COLUMNS)
    assert ROWS[1][0] in shown[3]
    assert shown[3].endswith(ROWS[1][5])


def test_in_a_pipe_one_very_long_name_does_not_pad_the_others() -> None:
    """It is there in full, and only its own line is long."""
    shown = table_lines(("topic", "parts"), [("orders", "12"), ("x" * 249, "1")], right=("parts",))
    assert len(shown[2]) <= 70
    assert shown[3] == "x" * 249 + "      1"


@pytest.mark.parametrize("width", range(31, 160, 7))
def test_a_terminal_is_never_too_narrow_for_a_number(width: int) -> None:
    """Each number is on one line, no line is wider than the terminal, and the long name is all there."""
    shown = lines(width)
    assert max(map(len, shown)) <= width
    for row in ROWS:
        for number in (row[1], row[2], row[4]):
            assert any(number in line for line in shown)
    if width >= 80:
        assert "".join(line[:20].strip() for line in shown).count("a.topic") >= 1
        assert "remarks" in "\n".join(shown)


def test_at_80_columns_remarks_go_below() -> None:
    """The name is folded, the remark stands below its row."""
    shown = lines(80)
    assert shown[0].split() == ["topic", "parts", "lag", "overlap", "stored"]
    assert shown[-1] == "    remarks: open transaction since 2026-11-23T02:41:07Z"
    folded = "".join(line[: shown[0].index("parts") - 2].strip() for line in shown[3:-1])
    assert folded == ROWS[1][0]


def test_what_is_left_out_is_said() -> None:
    """A column that a person can do without goes before the table becomes blocks."""
    shown = lines(52)
    assert "overlap" not in shown[0]
    assert "overlap" in shown[-1]


def test_where_nothing_fits_rows_become_blocks() -> None:
    """A line for each cell."""
    shown = lines(30)
    assert "stored   268.0 MiB" in shown
    assert "" in shown


def test_three_names_and_three_numbers_fit_in_80_columns() -> None:
    """As in the plan of a restore: texts are folded more tightly before the table is given up."""
    columns = ("topic", "as", "there now", "partitions", "records", "stored")
    row = (
        "shop.customer-changes.v3",
        "restored.shop.customer-changes.v3",
        "part of this restore",
        "312",
        "≤ 1,234,567",
    )
    shown = table_lines(columns, [(*row, "268.0 MiB")], width=80, right=columns[3:])
    assert shown[0].split() == ["topic", "as", "there", "now", "partitions", "records", "stored"]
    assert shown[2].split()[-4:] == ["≤", "1,234,567", "268.0", "MiB"]
    assert max(map(len, shown)) <= 80
