"""From raw TOML and overrides to the model: one walk over the schema that collects every problem."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mirror.config.environment import KeyPath
from mirror.config.fields import AliasTable, Setting, Table, sorts_of
from mirror.config.kinds import Kind, Place
from mirror.config.model import Origin
from mirror.config.nearest import nearest
from mirror.config.secrets import Secret
from mirror.config.special_kinds import Url

__all__ = ["Walk", "referenced_variables"]

_T = TypeVar("_T")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_MISSING = object()


def referenced_variables(raw: object) -> Iterator[str]:
    """Names of the variables that ``{ env = "NAME" }`` names anywhere."""
    if isinstance(raw, dict):
        if raw.keys() == {"env"} and isinstance(raw["env"], str):
            yield raw["env"]
        for value in raw.values():
            yield from referenced_variables(value)


@dataclass(slots=True, kw_only=True)
class Walk:
    """One reading of a configuration; ``problems``, ``origins`` and ``parsed`` (the sound values) fill up as it goes.

    Invariant: a table with a problem yields None, and the walk goes on.
    """

    variables: Mapping[KeyPath, str]
    environ: Mapping[str, str] = field(repr=False)
    file_place: Place
    variable_place: Place
    problems: list[str] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)
    parsed: dict[KeyPath, Any] = field(default_factory=dict)

    def build(self, cls: type[_T], raw: Mapping[str, Any], path: KeyPath) -> _T | None:
        """An instance of a model class from its raw table, or None after adding to ``problems``."""
        values, sound = self.values(cls, raw, path)
        return cls(**values) if sound else None

    def values(self, cls: type[Any], raw: Mapping[str, Any], path: KeyPath) -> tuple[dict[str, Any], bool]:
        """The attributes that could be read, and whether these are all."""
        problems_before = len(self.problems)
        values: dict[str, Any] = {}
        sorts = sorts_of(cls)
        self._refuse_unknown([sort.name for sort in sorts.values()], raw, path)
        for attribute, sort in sorts.items():
            if isinstance(sort, Setting):
                value = self._setting(sort, raw, path)
            elif isinstance(sort, Table):
                value = self._table(sort, raw, path)
            else:
                value = self._aliases(sort, raw, path)
            if value is not _MISSING:
                values[attribute] = value
        return values, len(self.problems) == problems_before

    def _setting(self, sort: Setting, raw: Mapping[str, Any], above: KeyPath) -> Any:
        path = (*above, sort.name)
        dotted = ".".join(path)
        if (variable := self.variables.get(path)) is not None:
            self.origins[dotted] = Origin(kind="env", variable=variable)
            if sort.kind.secret:
                return Secret.from_env(variable, self.environ)
            value = sort.kind.from_text(self.environ[variable])
            return self._parse(path, sort.kind, value, self.variable_place, variable)
        if sort.name in raw:
            self.origins[dotted] = Origin(kind="file")
            return self._parse(path, sort.kind, raw[sort.name], self.file_place, f"{_heading(above)} {sort.name}")
        self.origins[dotted] = Origin(kind="default")
        if sort.required:
            self.problems.append(f"{_heading(above)} {sort.name} is missing: expected {sort.kind.accepts}")
        return _MISSING

    def _parse(self, path: KeyPath, kind: Kind, raw: object, place: Place, where: str) -> Any:
        try:
            value = self.parsed[path] = kind.parse(raw, place)
        except ValueError as error:
            reason = f" ({error})" if str(error) else ""
            self.problems.append(f"{where} = {_shown(kind, raw)}: expected {kind.accepts}{reason}")
            return _MISSING
        return value

    def _table(self, sort: Table, raw: Mapping[str, Any], above: KeyPath) -> Any:
        path = (*above, sort.name)
        inner = raw.get(sort.name, {})
        if not isinstance(inner, dict):
            self.problems.append(f"{_heading(path)} is not a table")
            return _MISSING
        overridden = any(key[: len(path)] == path for key in self.variables)
        if sort.optional and sort.name not in raw and not overridden:
            return None
        built = self.build(sort.cls, inner, path)
        return _MISSING if built is None else built

    def _aliases(self, sort: AliasTable, raw: Mapping[str, Any], above: KeyPath) -> dict[str, Any]:
        path = (*above, sort.name)
        tables = raw.get(sort.name, {})
        if not isinstance(tables, dict):
            self.problems.append(f"{_heading(path)} is not a table")
            return {}
        built = {}
        for alias, table in tables.items():
            if not _ALIAS.fullmatch(alias):
                self.problems.append(f"{_heading(path)} has the alias {alias!r}: use A-Z a-z 0-9 _ - only")
            elif not isinstance(table, dict):
                self.problems.append(
                    f"[{sort.name}] {alias} is not a table: write [{sort.name}.<alias>] above its keys"
                )
            elif (instance := self.build(sort.cls, table, (*path, alias))) is not None:
                built[alias] = instance
        return built

    def _refuse_unknown(self, names: list[str], raw: Mapping[str, Any], path: KeyPath) -> None:
        for key in raw:
            if key in names:
                continue
            what = f"{_heading(path)} has no key {key!r}" if path else f"there is no table or key {key!r}"
            right = nearest(key, names)
            self.problems.append(f"{what}; did you mean {right}?" if right else f"{what}; there is {', '.join(names)}")


def _heading(path: KeyPath) -> str:
    return f"[{'.'.join(path)}]"


def _shown(kind: Kind, raw: object) -> str:
    """A refused value as it was written, as far as it cannot be a secret."""
    if kind.secret or (isinstance(kind, Url) and kind.may_hold_credentials(raw)):
        return "****"
    if isinstance(raw, dict) or (isinstance(raw, list) and any(isinstance(item, dict | list) for item in raw)):
        return "{…}"
    text = json.dumps(raw, ensure_ascii=False, default=str)
    return text if len(text) <= 100 else f"{text[:99]}…"
