"""A person's consent to a restore into the cluster that was backed up."""

import sys
from typing import NamedTuple, Protocol

import click

from mirror.errors import RefusedError

__all__ = ["Consent", "ConsentTarget", "can_consent", "confirm"]


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
