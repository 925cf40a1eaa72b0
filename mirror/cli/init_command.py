"""``mirror init``."""

import asyncio

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import emit_json, print_line
from mirror.cli.progress import waiting
from mirror.service.init import init_repository

__all__ = ["command"]


@click.command(name="init")
@click.option("--repository", "alias", default="", metavar="ALIAS", help="Another repository than the worker's.")
@json_option
@pass_cli
def command(cli: CliContext, alias: str) -> None:
    """Create the repository for the source cluster, and its bucket or folder if there is none.

    May be run again. Refuses (exit 11) a repository of another cluster.
    """
    with waiting("the source cluster and the store", quiet=cli.as_json):
        result = asyncio.run(init_repository(cli.config(), alias))
    identity = result.repository.identity
    if cli.as_json:
        emit_json(
            {
                "address": result.repository.address,
                "repository_id": identity.repository_id,
                "cluster_id": identity.cluster_id,
                "made_place": result.made_place,
                "made_repository": result.made_repository,
            }
        )
        return
    what = "made" if result.made_repository else "is there already"
    place = " (with its bucket or folder)" if result.made_place else ""
    print_line(f"repository {result.repository.address} {what}{place}", bold=True)
    print_line(f"  id {identity.repository_id}, of cluster {identity.cluster_id}")
    print_line("  next: `mirror check`, then `mirror worker`")
