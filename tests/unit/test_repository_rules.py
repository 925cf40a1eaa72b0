"""Rules of the code base that no other tool checks; each names what breaks it."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = sorted(path for folder in ("mirror", "agents") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
TOOLS = sorted(path for folder in ("tests", "demo", "bench") for path in (ROOT / folder).rglob("*.py"))
MOST_LINES = 400


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CODE + TOOLS, ids=_name)
def test_modules_are_small(path: Path) -> None:
    """A module of more than 400 lines holds more than one idea."""
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_ranges_say_whether_their_end_is_included(path: Path) -> None:
    """A bare end_offset is never used: last_offset is inclusive, next_offset exclusive."""
    assert not re.search(r"\bend_offset\b", path.read_text())


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_what_a_module_exports_exists(path: Path) -> None:
    """Every name of __all__ is defined in the module, and every module with public definitions has one."""
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    tree = ast.parse(path.read_text())
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    }
    exported = set(getattr(module, "__all__", ()))
    assert not public or exported, "public definitions, but no __all__"
    assert all(hasattr(module, name) for name in exported)


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_comments_name_no_machine(path: Path) -> None:
    """No path of somebody's machine is in the code."""
    assert not re.search(r"(^|[^A-Za-z0-9_.])/(work|root|home)/[a-z]", path.read_text())


@pytest.mark.parametrize("path", TESTS, ids=_name)
def test_every_test_states_its_fact(path: Path) -> None:
    """Each test function has a docstring."""
    tree = ast.parse(path.read_text())
    silent = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent
