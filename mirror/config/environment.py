"""Overrides from the environment: ``MIRROR_<TABLE>__<KEY>``, one for every key.

The names are made from the schema and the aliases of the file, so that a variable is either the override of exactly
one key or an error.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mirror.config.fields import AliasTable, Setting, Table, sorts_of
from mirror.config.nearest import nearest

__all__ = ["OTHER_VARIABLES", "PREFIX", "KeyPath", "key_paths", "overrides", "variable_of"]

PREFIX = "MIRROR_"
KeyPath = tuple[str, ...]

# Variables that override no key: the file itself, and those of the development stack and of the test suite.
OTHER_VARIABLES = frozenset({"MIRROR_CONFIG", "MIRROR_STACK_CACHE", "MIRROR_TEST_SEED", "MIRROR_TEST_KEEP"})

# What Kubernetes puts into every pod when a Service is called "mirror" or "mirror-…": not ours, not an error.
_SERVICE_LINK = re.compile(
    r"MIRROR(_[A-Z0-9]+)*_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)"
)
_SERVICE_LINK_PORT = re.compile(r"(tcp|udp|sctp)://.+:[0-9]+")


def variable_of(key_path: KeyPath) -> str:
    """``MIRROR_CLUSTERS__PROD_EU__ROLE`` for ``("clusters", "prod-eu", "role")``."""
    return PREFIX + "__".join(part.upper().replace("-", "_") for part in key_path)


def key_paths(cls: type[Any], raw: Mapping[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Setting]]:
    """Every key there can be, given the aliases in the raw TOML."""
    for sort in sorts_of(cls).values():
        path = (*above, sort.name)
        if isinstance(sort, Setting):
            yield path, sort
            continue
        inner = raw.get(sort.name)
        inner = inner if isinstance(inner, dict) else {}
        if isinstance(sort, Table):
            yield from key_paths(sort.cls, inner, path)
        elif isinstance(sort, AliasTable):
            for alias, table in inner.items():
                yield from key_paths(sort.cls, table if isinstance(table, dict) else {}, (*path, alias))


def overrides(
    cls: type[Any], raw: Mapping[str, Any], environ: Mapping[str, str], referenced: Iterable[str]
) -> tuple[dict[KeyPath, str], list[str]]:
    """The variables that override a key, as variable name by key path, and the problems with the others.

    Args:
        cls: the root of the model.
        raw: the file's content.
        environ: the environment.
        referenced: variables that secrets of the file read; these may begin with the prefix too.
    """
    problems: list[str] = []
    paths: dict[str, KeyPath] = {}
    for path, _ in key_paths(cls, raw):
        name = variable_of(path)
        if name in paths:
            problems.append(
                f"{_dotted(paths[name])} and {_dotted(path)} would share the variable {name}: rename an alias"
            )
        paths[name] = path
    known_elsewhere = OTHER_VARIABLES | set(referenced)
    found: dict[KeyPath, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in known_elsewhere:
            continue
        if (path_of := paths.get(variable.upper())) is not None:
            if path_of in found:
                problems.append(f"{found[path_of]} and {variable} override the same key")
            found[path_of] = variable
        elif not _is_service_link(variable, environ[variable]):
            right = nearest(variable, [*paths, *OTHER_VARIABLES])
            problems.append(f"unknown environment variable {variable}" + (f"; did you mean {right}?" if right else ""))
    return found, problems


def _is_service_link(variable: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(variable):
        return "__" not in variable
    return variable.endswith("_PORT") and bool(_SERVICE_LINK_PORT.fullmatch(value))


def _dotted(path: KeyPath) -> str:
    return ".".join(path)
