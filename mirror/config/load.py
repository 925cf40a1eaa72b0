"""Loading: file, environment and cross checks come together here."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mirror.config.checks import check_cluster, check_references, check_repository, check_worker
from mirror.config.environment import overrides
from mirror.config.kinds import Place
from mirror.config.locate import find_config, read_toml
from mirror.config.model import Config
from mirror.config.parse import Walk, referenced_variables
from mirror.errors import ConfigError

__all__ = ["load_config", "parse_config"]


def load_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Find, read and check the configuration. Secrets are not read yet.

    Args:
        path: the file (--config); without one MIRROR_CONFIG, then the usual places.
        environ: the environment with the overrides; by default that of this process.

    Raises:
        ConfigError: with all problems at once.
    """
    variables = os.environ if environ is None else environ
    found = find_config(path, variables)
    return parse_config(read_toml(found), path=found, environ=variables)


def parse_config(raw: Mapping[str, Any], *, path: Path | None = None, environ: Mapping[str, str]) -> Config:
    """The configuration from the content of a TOML file; relative paths start at the folder of ``path``.

    Raises:
        ConfigError: with all problems at once.
    """
    current = Path.cwd()
    variables, problems = overrides(Config, raw, environ, referenced_variables(raw))
    walk = Walk(
        variables=variables,
        environ=environ,
        file_place=Place(folder=current if path is None else current / path.parent, environ=environ),
        variable_place=Place(folder=current, environ=environ),
        problems=problems,
    )
    values, _ = walk.values(Config, raw, ())
    clusters, repositories = values["clusters"], values["repositories"]
    for alias, cluster in clusters.items():
        problems += check_cluster(alias, cluster)
    for alias, repository in repositories.items():
        problems += check_repository(alias, repository)
    chosen = {key: walk.parsed.get(("worker", key), "") for key in ("source", "repository")}
    roles = {alias: walk.parsed.get(("clusters", alias, "role")) for alias in _aliases(raw, "clusters")}
    repository_aliases = _aliases(raw, "repositories")
    sources = [alias for alias, role in roles.items() if role == "source"]
    for key, aliases in (("source", sources), ("repository", repository_aliases)):
        if not chosen[key] and len(aliases) > 1:
            problems.append(f"[worker] {key} is missing: choose one of {', '.join(sorted(aliases))}")
        elif not chosen[key] and aliases:
            chosen[key] = aliases[0]
    problems += check_references(**chosen, roles=roles, repositories=repository_aliases)
    if (worker := values.get("worker")) is not None:
        worker = values["worker"] = replace(worker, **chosen)
        problems += check_worker(worker)
    if problems:
        raise _error(problems, path)
    return Config(**values, path=path, origins=walk.origins)


def _aliases(raw: Mapping[str, Any], name: str) -> list[str]:
    tables = raw.get(name)
    return list(tables) if isinstance(tables, dict) else []


def _error(problems: list[str], path: Path | None) -> ConfigError:
    place = "configuration" if path is None else str(path)
    hint = "`mirror config sample` explains every setting; `mirror config check` tries it again"
    if len(problems) == 1:
        return ConfigError(f"{place}: {problems[0]}", hint=hint)
    lines = "".join(f"\n  - {problem}" for problem in problems)
    return ConfigError(f"{place}: {len(problems)} problems{lines}", hint=hint)
