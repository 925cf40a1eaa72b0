"""A configuration as rows for a person or a program: effective values, secrets masked, and where each came from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirror.config.environment import KeyPath
from mirror.config.fields import Setting, Table, sorts_of
from mirror.config.model import Config
from mirror.config.secrets import MASK, Secret

__all__ = ["Row", "file_rows", "rows", "secret_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One key: ``value`` as TOML would write it (None when unset), ``origin`` in words."""

    key: str
    value: str | int | float | bool | list[Any] | None
    origin: str


def rows(config: Config) -> list[Row]:
    """All keys, in the order of the model."""
    return [
        Row(
            key=".".join(path),
            value=None if value is None else setting.kind.show(value),
            origin=_origin(config, ".".join(path), value),
        )
        for path, setting, value in _walk(config, ())
    ]


def secret_rows(config: Config) -> list[tuple[str, Secret]]:
    """All secrets that are set, by key."""
    return [(".".join(path), value) for path, _, value in _walk(config, ()) if isinstance(value, Secret)]


def file_rows(config: Config) -> list[tuple[str, Path]]:
    """All files that must exist to use this configuration, by key; not those of secrets."""
    return [
        (".".join(path), value)
        for path, _, value in _walk(config, ())
        if isinstance(value, Path) and path[-1].endswith("_file")
    ]


def _walk(model: Any, above: KeyPath) -> Iterator[tuple[KeyPath, Setting, Any]]:
    for attribute, sort in sorts_of(type(model)).items():
        value = getattr(model, attribute)
        path = (*above, sort.name)
        if isinstance(sort, Setting):
            yield path, sort, value
        elif isinstance(sort, Table):
            if value is not None:
                yield from _walk(value, path)
        else:
            for alias, table in value.items():
                yield from _walk(table, (*path, alias))


def _origin(config: Config, key: str, value: Any) -> str:
    origin = config.origins.get(key)
    if origin is None:
        return "default"
    if origin.variable is not None:
        return f"env {origin.variable}"
    if isinstance(value, Secret) and value.shown == MASK:
        return f"{origin.kind}: {value.source}"
    return origin.kind
