"""What `mirror check` says of the capture of consumer groups: which way is in use, and which rights it lacks."""

from collections.abc import Callable
from typing import Final

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.errors import AccessError, MirrorError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.group_positions import all_positions
from mirror.service.check_lines import CheckLine, failed, ok, skipped, warned
from mirror.service.group_capture import missing_group_log_rights

__all__ = ["check_groups"]

_ANY_GROUP: Final = "mirror-asks-for-any-group"

Grant = Callable[[list[str], str, str], str]
"""Operations, kind of resource, its name → the command that grants them."""


async def check_groups(
    client: MirrorClient, admin: Admin, mode: str, *, principal: str, grant: Grant
) -> list[CheckLine]:
    """Whether consumer groups are captured as ``[worker] groups`` says.

    Args:
        client: of the source.
        admin: the same.
        mode: the setting.
        principal: whose rights these are.
        grant: makes a command.
    """
    if mode == "off":
        return [ok("rights", 'consumer groups are not captured: [worker] groups = "off"')]
    if mode == "poll":
        return [
            ok("rights", 'consumer groups are polled, not read from a topic: [worker] groups = "poll"'),
            *await _polling(client, admin, principal, grant),
        ]
    try:
        missing = await missing_group_log_rights(client)
    except MirrorError as error:
        return [skipped("rights", f"READ on {GROUP_LOG_TOPIC}: not proven, {error.message}", "run it again")]
    if not missing:
        return [ok("rights", f"READ and DESCRIBE on {GROUP_LOG_TOPIC}: consumer groups are captured")]
    lacks = f"{principal} lacks {', '.join(sorted(missing))} on {GROUP_LOG_TOPIC}"
    command = grant(sorted(missing), "topic", GROUP_LOG_TOPIC)
    if mode == "topic":
        message = f"{lacks}: consumer groups are not captured"
        return [failed("rights", message, 'or set [worker] groups = "auto"', commands=[command], exit_code=12)]
    told = "what they commit between two polls is not known; grant it, or set [worker] groups"
    return [
        warned("rights", f"{lacks}: consumer groups are polled instead", f'{told} = "poll": {command}'),
        *await _polling(client, admin, principal, grant),
    ]


async def _polling(client: MirrorClient, admin: Admin, principal: str, grant: Grant) -> list[CheckLine]:
    """Whether all groups can be asked: each needs DESCRIBE, and so do its topics."""
    try:
        found = await all_positions(client)
        try:
            await admin.group_operations(_ANY_GROUP)
            may_all = True
        except AccessError:
            may_all = False
    except MirrorError as error:
        return [skipped("rights", f"DESCRIBE on consumer groups: not proven, {error.message}", "run it again")]
    count = len(found.positions)
    said = f"{count} consumer {'group' if count == 1 else 'groups'} can be asked"
    if may_all and not found.errors:
        return [ok("rights", f"DESCRIBE on all consumer groups: {said}")]
    command = grant(["DESCRIBE"], "group", "'*'")
    message = f"{principal} lacks DESCRIBE on consumer groups: {said}, others are not seen"
    return [warned("rights", message, f"where these are not all that count, grant it: {command}")]
