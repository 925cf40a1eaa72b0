"""``mirror config check``, ``mirror config show`` and ``mirror config sample``."""

import stat
from pathlib import Path

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import emit_json, print_line, print_table
from mirror.config import Config
from mirror.config.locate import sample_toml
from mirror.config.show import file_rows, rows, secret_rows
from mirror.errors import ConfigError

__all__ = ["command"]


@click.group(name="config")
def command() -> None:
    """Check or show the configuration, or print a sample."""


@command.command(name="check")
@json_option
@pass_cli
def check(cli: CliContext) -> None:
    """Check the configuration, with every secret and file it names; connects to nothing.

    Exits 2 when something is wrong, with all problems at once.
    """
    config = cli.config()
    problems = [*_unreadable_secrets(config), *_unreadable_files(config)]
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise ConfigError(f"{config.path}: {len(problems)} problem{'s'[: len(problems) > 1]}{lines}")
    warnings = _warnings(config)
    if cli.as_json:
        emit_json({"path": str(config.path), "valid": True, "uses": dict(_summary(config)), "warnings": warnings})
        return
    print_line(f"OK {config.path}", bold=True)
    for name, value in _summary(config):
        print_line(f"  {name:<11} {value}")
    for warning in warnings:
        print_line(f"warning: {warning}", color="yellow", err=True)


@command.command(name="show")
@json_option
@pass_cli
def show(cli: CliContext) -> None:
    """Show every setting in effect and where it came from; secrets are masked."""
    config = cli.config()
    all_rows = rows(config)
    if cli.as_json:
        emit_json({"path": str(config.path), "settings": all_rows})
        return
    print_line(f"{config.path}")
    print_table(("setting", "value", "from"), [(row.key, _as_text(row.value), row.origin) for row in all_rows])


@command.command(name="sample")
def sample() -> None:
    """Print a commented configuration with every setting there is: `mirror config sample > mirror.toml`."""
    print(sample_toml(), end="", flush=True)


def _as_text(value: object) -> str:
    if value is None or value == "" or value == []:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _summary(config: Config) -> list[tuple[str, str]]:
    worker = config.worker
    lines = [("worker", worker.id)]
    if worker.source:
        source = config.source_cluster
        brokers = ", ".join(source.bootstrap_servers)
        lines.append(("source", f"{worker.source} ({brokers}, {source.security_protocol})"))
    lines += [
        (f"target {alias}", f"{', '.join(cluster.bootstrap_servers)}, {cluster.security_protocol}")
        for alias, cluster in config.clusters.items()
        if cluster.role == "target"
    ]
    if worker.repository:
        lines.append(("repository", f"{worker.repository} ({config.repository().url})"))
    rules = {
        "topics": worker.topics,
        "topics_regex": worker.topics_regex,
        "exclude": worker.exclude,
        "exclude_regex": worker.exclude_regex,
    }
    lines += [(name, ", ".join(patterns)) for name, patterns in rules.items() if patterns]
    return lines


def _unreadable_secrets(config: Config) -> list[str]:
    problems = []
    for key, secret in secret_rows(config):
        try:
            secret.reveal()
        except ConfigError as error:
            problems.append(f"{key}: {error.message}")
    return problems


def _unreadable_files(config: Config) -> list[str]:
    problems = []
    for key, path in file_rows(config):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            problems.append(f"{key}: cannot read {path}: {error.strerror or type(error).__name__}")
    return problems


def _warnings(config: Config) -> list[str]:
    warnings = []
    if not config.worker.source:
        warnings.append("no cluster has the role source: `mirror worker` has nothing to back up")
    if not config.repositories:
        warnings.append(
            "there is no [repositories.<alias>] table: there is nowhere to back up to, nothing to restore from"
        )
    private = [(key, secret.file) for key, secret in secret_rows(config) if secret.file is not None]
    private += [(key, path) for key, path in file_rows(config) if key.endswith((".key_file", ".token_file"))]
    warnings += [
        f"{key}: every user of this machine can read {path}; chmod o-r it"
        for key, path in private
        if path is not None and _readable_by_others(path)
    ]
    for alias, cluster in config.clusters.items():
        if (
            cluster.sasl is not None
            and cluster.security_protocol == "SASL_PLAINTEXT"
            and cluster.sasl.mechanism in _CLEAR
        ):
            warnings.append(f"clusters.{alias}: {cluster.sasl.mechanism} over SASL_PLAINTEXT sends the secret in clear")
        if cluster.ssl is not None and not cluster.ssl.check_hostname:
            warnings.append(f"clusters.{alias}.ssl: check_hostname = false accepts any host with a valid certificate")
    if config.worker.web_host not in _LOOPBACK:
        warnings.append(
            f"worker.web_host = {config.worker.web_host}: metrics and positions are readable without a login"
        )
    return warnings


_CLEAR = ("PLAIN", "OAUTHBEARER")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _readable_by_others(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IROTH)
