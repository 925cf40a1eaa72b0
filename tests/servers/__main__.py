"""`python -m tests.servers fetch|up|down|status`: the stack in `.stack/`, kept running in the background."""

import sys

from tests.servers.errors import StackError

_USAGE = "usage: python -m tests.servers fetch|up|down|status"


def main(arguments: list[str]) -> int:
    """Run one command. Exit codes: 0 done (status: all runs), 1 failed (status: not all run), 2 usage."""
    if len(arguments) != 1 or arguments[0] not in ("fetch", "up", "down", "status"):
        print(_USAGE, file=sys.stderr)
        return 2
    try:
        return _run(arguments[0])
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(command: str) -> int:
    # imported late: they load the client libraries, and a missing one should not hide the usage line
    from tests.servers import fetch, kafka, stack

    if command == "fetch":
        print(f"Kafka {kafka.default_jvm().jars}")
        print(f"MinIO {fetch.ensure_minio()}")
    elif command == "up":
        env_path = stack.up()
        print(f"up; addresses and keys are in {env_path}")
    elif command == "down":
        stack.down()
        print("down")
    else:
        known = stack.servers()
        for server in known:
            print(f"{server.name:10} {'running' if server.is_running else 'GONE'} pid {server.pid}")
        if not known:
            print("nothing was started")
        return 0 if known and all(server.is_running for server in known) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
