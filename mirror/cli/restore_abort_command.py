"""``mirror restore abort``: put everything back as it was before a restore."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import click

from mirror.cli.consent import Consent, confirm, consent_options
from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import emit_json, human_count, print_line, print_table
from mirror.cli.restore_again import tell_record
from mirror.cli.restore_command import require_consentable
from mirror.cli.restore_named import NamedRestore, NamedTarget, find_named, on_target
from mirror.cli.state_undo_view import kept_texts, print_state_undo, state_undo_json
from mirror.core.state_undo import StateUndo
from mirror.errors import PartialError, RefusedError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.service.restore.journal import RestoreJournal
from mirror.service.restore.rollback import GroupRollback, find_rollbacks, refuse_moved, roll_back
from mirror.service.restore.standing import Standing, stand_of
from mirror.service.restore.state_undoing import find_state_undo, undo_state
from mirror.service.restore.undoing import TopicUndo, Undo, plan_undo, undo_topics

__all__ = ["abort_command"]

_LEFT_HINT = "--complete and --foreign delete topics that it made, never others"


@click.command(name="abort")
@click.argument("restore", metavar="ID")
@click.option("--repository", default="", metavar="ALIAS", help="Another repository than the worker's.")
@click.option("--complete", is_flag=True, help="Also delete topics that are complete, or of which no record is kept.")
@click.option("--foreign", is_flag=True, help="Also delete topics that got records of others since.")
@click.option("--no-groups", is_flag=True, help="Leave consumer groups where they are.")
@click.option("--no-state", is_flag=True, help="Leave ACLs and client quotas as they are, for good.")
@consent_options
@click.option("--dry-run", is_flag=True, help="Show what would be done and stop.")
@json_option
@pass_cli
def abort_command(
    cli: CliContext,
    restore: str,
    repository: str,
    complete: bool,
    foreign: bool,
    no_groups: bool,
    no_state: bool,
    yes: bool,
    target_cluster_id: str | None,
    reason: str,
    dry_run: bool,
) -> int:
    """Put everything back as it was before a restore: topics that it made are deleted, those that were there and empty are made
    empty again with the settings they had, consumer groups go where they stood, ACLs that it added go, client quotas are as before.

    A topic that held records before is never touched, nor a quota that somebody changed since. A topic that is complete, or got records
    of others since, is kept unless you say --complete or --foreign; ACLs and quotas stay as long as it does. ID is as `mirror restore
    list` shows it, its first letters, or the file of its plan. Exits 3 where something of the restore is kept.
    """
    named = find_named(cli, repository, restore)
    consent = Consent(yes=yes, cluster_id=target_cluster_id)
    require_consentable(cli, named.planned.target, consent, is_dry=dry_run)
    abort = _Abort(
        cli,
        named,
        consent,
        with_complete=complete,
        with_foreign=foreign,
        with_groups=not no_groups,
        with_state=not no_state,
    )
    return asyncio.run(abort.run(reason, is_dry=dry_run))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What goes back; ``state`` is None where it is left, or not known.

    ``left_groups`` stand elsewhere than before, and stay there: their topics are kept, or it was asked for.
    """

    topics: Sequence[TopicUndo]
    groups: Sequence[GroupRollback]
    left_groups: Sequence[str]
    state: StateUndo | None

    @property
    def has_state_changes(self) -> bool:
        return self.state is not None and self.state.has_changes


class _Abort:
    def __init__(
        self,
        cli: CliContext,
        named: NamedRestore,
        consent: Consent,
        *,
        with_complete: bool,
        with_foreign: bool,
        with_groups: bool,
        with_state: bool,
    ) -> None:
        self._cli = cli
        self._named = named
        self._consent = consent
        self._with_complete = with_complete
        self._with_foreign = with_foreign
        self._with_groups = with_groups
        self._with_state = with_state

    async def run(self, reason: str, *, is_dry: bool) -> int:
        async with on_target(self._cli, self._named) as (client, admin, target):
            found = await self._find(client, admin)
            if not self._cli.as_json:
                _print(self._named, target, found)
                self._print_state(found.state)
            if is_dry:
                if not self._cli.as_json:
                    if left := _left(found.topics):
                        print_line(
                            f"what this restore loaded stays in {len(left)} topics; {_LEFT_HINT}", color="yellow"
                        )
                    print_line("nothing was changed (--dry-run)")
                self._emit(found, is_done=False)
                return 0
            refuse_moved(found.groups, target.target_alias)
            self._consent_to(target, found)
            found = await self._do(client, admin, found, reason)
        self._emit(found, is_done=True)
        return 0

    async def _find(self, client: MirrorClient, admin: Admin) -> _Found:
        topics = await self._undos(client, admin)
        return _Found(
            topics=topics,
            groups=await self._rollbacks(client, admin, topics),
            left_groups=await self._left_groups(client, admin, topics),
            state=await self._state(client, admin, topics),
        )

    async def _undos(self, client: MirrorClient, admin: Admin) -> list[TopicUndo]:
        history = self._named.history
        before = {} if history is None else history.topics_before()
        return [
            plan_undo(
                standing,
                before.get(standing.topic.target_topic),
                with_complete=self._with_complete,
                with_foreign=self._with_foreign,
            )
            for standing in await stand_of(client, admin, self._named.topics)
        ]

    async def _rollbacks(self, client: MirrorClient, admin: Admin, undos: Sequence[TopicUndo]) -> list[GroupRollback]:
        if self._named.history is None or not self._with_groups:
            return []
        undone = {one.name for one in undos if one.undo is not Undo.KEEP}
        return await find_rollbacks(client, admin, self._named.history, topics=undone)

    async def _left_groups(self, client: MirrorClient, admin: Admin, undos: Sequence[TopicUndo]) -> list[str]:
        if self._named.history is None:
            return []
        kept = {one.name for one in undos if one.undo is Undo.KEEP}
        if not self._with_groups:
            kept |= {one.name for one in undos if not one.deletes}
        found = await find_rollbacks(client, admin, self._named.history, topics=kept)
        return [one.group for one in found if one.put_back or one.forget or one.moved]

    async def _state(self, client: MirrorClient, admin: Admin, undos: Sequence[TopicUndo]) -> StateUndo | None:
        if self._named.history is None or not self._with_state:
            return None
        waits_for = [one.name for one in undos if one.waits_for_word]
        alias = self._named.planned.target
        return await find_state_undo(client, admin, self._named.history, alias, waits_for=waits_for)

    def _print_state(self, state: StateUndo | None) -> None:
        if state is not None:
            print_state_undo(state)
            return
        if self._with_state and self._wanted_state:
            print_line("without a record nobody knows which ACLs and quotas it put: they stay", color="yellow")

    def _left_alone(self, found: _Found) -> list[str]:
        """What a later look at the record should know."""
        state = found.state
        said = [] if self._with_groups else ["consumer groups were left where they are (--no-groups)"]
        if self._with_groups and found.left_groups:
            said.append(f"{len(found.left_groups)} consumer groups were left where they are: their topics are kept")
        if state is not None:
            return said + kept_texts(state)
        if self._wanted_state:
            said.append("ACLs and client quotas were left as they are" + ("" if self._with_state else " (--no-state)"))
        return said

    def _but(self, found: _Found) -> str:
        state = found.state
        left: list[str] = []
        if found.left_groups:
            left.append(f"{len(found.left_groups)} consumer groups")
        if state is None and self._wanted_state:
            left.append("ACLs and quotas")
        elif state is not None and state.kept_quotas:
            left.append(f"{len(state.kept_quotas)} quotas that were changed since")
        return f", but {', '.join(left)}" if left else ""

    def _require_nothing_left(self, found: _Found) -> None:
        if not (left := _left(found.topics)):
            return
        same = ["other topics"]
        if found.state is not None and not found.state.waits_for:
            same.insert(0, "ACLs, quotas")
        groups = found.left_groups
        put = (
            f"{len(groups)} consumer groups do not stand as before ({', '.join(groups[:5])}: "
            f"`mirror groups rollback {self._named.restore_id}` puts them back); "
        )
        if not groups:
            same.insert(0, "groups")
        raise PartialError(
            f"what this restore loaded is kept in {len(left)} topics: {', '.join(left[:5])}",
            hint=f"{put if groups else ''}{' and '.join(', '.join(same).rsplit(', ', 1))} are as they were; {_LEFT_HINT}",
        )

    @property
    def _wanted_state(self) -> bool:
        return self._named.planned.acls is not None or self._named.planned.quotas is not None

    def _consent_to(self, target: NamedTarget, found: _Found) -> None:
        confirm(target, self._consent, is_source=target.is_source, what="to undo a restore in it")
        count = sum(one.deletes for one in found.topics)
        if self._consent.yes or not (count or found.groups or found.has_state_changes):
            return
        if not sys.stdin.isatty():
            raise RefusedError(
                "this deletes topics, moves groups or takes ACLs and quotas back: nothing was changed",
                hint="if it is meant: --yes",
            )
        typed = click.prompt(f"Type the number of topics that go, {count}", default="", err=True)
        if typed != str(count):
            raise RefusedError("the number was not typed: nothing was changed")

    async def _do(self, client: MirrorClient, admin: Admin, found: _Found, reason: str) -> _Found:
        """State last: an ACL that goes may be the one by which the rest is undone. What is done is as it was found."""
        journal = RestoreJournal(
            self._named.repository,
            self._named.planned,
            verb="abort",
            reason=reason,
            command=self._cli.same_again(sys.argv[1:]),
        )
        await journal.begin()
        tell_record(journal, quiet=self._cli.as_json)
        try:
            await roll_back(client, found.groups)
            await undo_topics(client, admin, found.topics)
            if found.state is not None:
                found = replace(found, state=await undo_state(client, found.state))
            self._require_nothing_left(found)
        except BaseException as error:
            await journal.end(error)
            raise
        await journal.end(notes=self._left_alone(found))
        return found

    def _emit(self, found: _Found, *, is_done: bool) -> None:
        if not self._cli.as_json:
            if is_done:
                but = self._but(found)
                print_line(
                    f"{self._named.restore_id} is aborted: everything is as it was before{but}",
                    bold=True,
                    color="green",
                )
            return
        emit_json(
            {
                "restore_id": self._named.restore_id,
                "done": is_done,
                "topics": [
                    {
                        "target_topic": one.name,
                        "standing": one.standing.standing.value,
                        "undo": one.undo.value,
                        "why": one.why,
                        "offsets": one.standing.there_offsets + one.standing.later_offsets,
                    }
                    for one in found.topics
                ],
                "groups": [
                    {
                        "group": one.group,
                        "put_back": len(one.put_back),
                        "forgotten": len(one.forget),
                        "moved": list(one.moved),
                        "members": one.members,
                    }
                    for one in found.groups
                ],
                "state": state_undo_json(found.state),
            }
        )


def _left(undos: Sequence[TopicUndo]) -> list[str]:
    return [f"{one.name} ({one.why})" for one in undos if one.is_left]


def _print(named: NamedRestore, target: NamedTarget, found: _Found) -> None:
    print_line(
        f"undo {named.restore_id} on {target.target_alias}: cluster {target.target_cluster_id} at {target.target_bootstrap}",
        bold=True,
    )
    if target.is_source:
        print_line("THIS IS THE SOURCE CLUSTER", bold=True, color="red")
    if named.history is None:
        print_line(
            "no record of it is kept: only topics that bear its mark are touched, with --complete, and no groups",
            color="yellow",
        )
    if named.history is not None and named.history.state == "no end":
        print_line("its last run has no end: it was killed, or is still at work; then stop it first", color="yellow")
    print_table(
        ("topic", "on the target", "offsets", "will be done", "why"),
        [
            (
                one.name,
                one.standing.standing.value,
                human_count(one.standing.there_offsets + one.standing.later_offsets)
                if one.standing.standing is not Standing.ABSENT
                else "–",
                one.undo.value,
                one.why,
            )
            for one in found.topics
        ],
        right=("offsets",),
        below=("why",),
    )
    for one in found.groups:
        print_line(f"group {one.group}: {len(one.put_back)} positions back, {len(one.forget)} forgotten")
