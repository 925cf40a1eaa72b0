"""A person's consent to a restore into the cluster that was backed up."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import click

from mirror.errors import RefusedError

__all__ = ["Consent", "ConsentTarget", "can_consent", "confirm", "consent_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


class ConsentTarget(Protocol):
    """The cluster that is changed, as a plan names it."""

    @property
    def target_alias(self) -> str:
        """In the configuration."""

    @property
    def target_cluster_id(self) -> str:
        """The cluster's id."""

    @property
    def target_bootstrap(self) -> str:
        """Where it listens."""


class Consent(NamedTuple):
    """What was given on the command line."""

    yes: bool
    cluster_id: str | None


def consent_options(function: _Command) -> _Command:
    """``--yes``, ``--target-cluster-id`` and ``--reason``: of the commands that write into a restore's record."""
    options = (
        click.option(
            "--yes", is_flag=True, help="Do not ask; needs --target-cluster-id where the target is the source cluster."
        ),
        click.option("--target-cluster-id", metavar="ID", help="The cluster must have this id; else nothing is done."),
        click.option("--reason", default="", metavar="TEXT", help="Why; is kept in the record of the restore."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def can_consent(consent: Consent) -> bool:
    """Whether consent to the source cluster was given, or can be asked for."""
    given = consent.yes and consent.cluster_id is not None
    return given or (not consent.yes and sys.stdin.isatty() and sys.stderr.isatty())


def confirm(plan: ConsentTarget, consent: Consent, *, is_source: bool, what: str = "to restore into it") -> None:
    """Go on only with the right cluster; into the source cluster only if its alias is typed, or `--yes` and its id are given.

    Raises:
        RefusedError: another cluster, or no consent. Nothing was changed.
    """
    if consent.cluster_id is not None and consent.cluster_id != plan.target_cluster_id:
        raise RefusedError(
            f"{plan.target_alias} at {plan.target_bootstrap} is cluster {plan.target_cluster_id}, not {consent.cluster_id}",
            hint="nothing was changed; see which cluster the alias names: `mirror config show`",
        )
    if not is_source or (consent.yes and consent.cluster_id is not None):
        return
    if not can_consent(consent):
        raise RefusedError(
            f"THIS IS THE SOURCE CLUSTER: {plan.target_alias} at {plan.target_bootstrap}",
            hint=f"if it is meant: --yes --target-cluster-id {plan.target_cluster_id}",
        )
    typed = click.prompt(
        f"THIS IS THE SOURCE CLUSTER. Type its alias, {plan.target_alias}, {what}", default="", err=True
    )
    if typed != plan.target_alias:
        raise RefusedError("the alias was not typed: nothing was changed")
