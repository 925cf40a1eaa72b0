"""How the model declares its settings: dataclass fields that carry their kind.

Three sorts of fields: ``setting`` (one value), ``table`` (a nested table) and ``alias_table`` (tables by a name that
the user chooses).
"""

import dataclasses
from pathlib import Path
from typing import Any

from mirror.config.kinds import Kind, Place

__all__ = ["AliasTable", "Setting", "Table", "alias_table", "setting", "sorts_of", "table"]

_SORT = "mirror.config"
_NOWHERE = Place(folder=Path(), environ={})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key of a table: its TOML name and its kind; ``required`` when there is no default."""

    name: str
    kind: Kind
    required: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A nested table; when ``optional``, leaving it out gives None instead of its defaults."""

    name: str
    cls: type[Any]
    optional: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AliasTable:
    """Tables under names that the user chooses."""

    name: str
    cls: type[Any]


def setting(name: str, kind: Kind, **default: Any) -> Any:
    """A field for one key.

    ``default=`` is written as in TOML, ``unset=None`` is a default that is no value; without either it is required.
    """
    sort = Setting(name=name, kind=kind, required=not default)
    if "unset" in default:
        return dataclasses.field(default=default["unset"], metadata={_SORT: sort})
    if "default" in default:
        return dataclasses.field(default=kind.parse(default["default"], _NOWHERE), metadata={_SORT: sort})
    return dataclasses.field(metadata={_SORT: sort})


def table(name: str, cls: type[Any], *, optional: bool = False) -> Any:
    """A field for a nested table, all of whose settings have defaults unless it is optional."""
    sort = {_SORT: Table(name=name, cls=cls, optional=optional)}
    if optional:
        return dataclasses.field(default=None, metadata=sort)
    return dataclasses.field(default_factory=cls, metadata=sort)


def alias_table(name: str, cls: type[Any]) -> Any:
    """A field for tables by alias."""
    return dataclasses.field(default_factory=dict, metadata={_SORT: AliasTable(name=name, cls=cls)})


def sorts_of(cls: type[Any]) -> dict[str, Setting | Table | AliasTable]:
    """The declared settings and tables of a model class, by attribute, in order."""
    return {field.name: field.metadata[_SORT] for field in dataclasses.fields(cls) if _SORT in field.metadata}
