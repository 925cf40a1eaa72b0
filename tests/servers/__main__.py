"""`python -m tests.servers fetch|up|down|status`: the stack in `.stack/`, or a second one beside it, kept running in the background."""

import argparse
import re
import sys

from tests.servers.errors import StackError

_TAKEN = ("kafka", "minio", "worker")  # folders of the stack without a name
_COMMANDS = {
    "fetch": "get Kafka and build MinIO, once per machine (about 5 minutes)",
    "up": "start Kafka and MinIO; their addresses and keys are in .stack/env, with --name in .stack/NAME/env",
    "down": "end what `up` started, without --name every stack; the data goes, the logs stay",
    "status": "which servers run; exit code 1 if not all do",
}


def main(arguments: list[str]) -> int:
    """Run one command. Exit codes: 0 done (status: all runs), 1 failed (status: not all run), 2 usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers",
        description="The stack of Kafka and MinIO for trying things, kept running in the background.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="fetch|up|down|status")
    for name, what in _COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        if name != "fetch":
            command.add_argument("--name", type=_name, help="of another stack, beside the one without a name")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    try:
        return _run(options.command, getattr(options, "name", None))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", text) or text in _TAKEN:
        raise argparse.ArgumentTypeError(f"small letters, digits and hyphens, but none of {', '.join(_TAKEN)}")
    return text


def _run(command: str, name: str | None) -> int:
    # imported late: they load the client libraries, and a missing one should not hide the usage line
    from tests.servers import fetch, kafka, stack

    where = stack.DEFAULT_FOLDER / (name or "")
    if command == "fetch":
        print(f"Kafka {kafka.default_jvm().jars}")
        print(f"MinIO {fetch.ensure_minio()}")
    elif command == "up":
        env_path = stack.up(where)
        print(f"up; addresses and keys are in {env_path}")
    elif command == "down":
        for folder in [where] if name else stack.folders():
            stack.down(folder)
        print("down")
    else:
        known = stack.servers(where)
        for server in known:
            print(f"{server.name:10} {'running' if server.is_running else 'GONE'} pid {server.pid}")
        if not known:
            print("nothing was started")
        return 0 if known and all(server.is_running for server in known) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
