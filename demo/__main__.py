"""``python -m demo [run|up|down|traffic]``; see ``python -m demo --help``."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

_EXIT_FAILED, _EXIT_INTERRUPTED = 1, 130


def main() -> int:
    """Run one command. Exit codes: 0 all of it held, 1 something did not, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    story = "backup, kill, disaster, restore, proof (the default)"
    run = commands.add_parser("run", help=story, description=story)
    for where in (parser, run):
        where.add_argument("--keep", action="store_true", help="leave the folder .demo/ with its logs and data")
    stack = "start the stack in the background, with a worker and light traffic"
    for where in (parser, run, commands.add_parser("up", help=stack, description=stack)):
        where.add_argument("--procfile", type=Path, default=Path("Procfile"), help=argparse.SUPPRESS)
    commands.add_parser("down", help="stop what `up` started")
    traffic = commands.add_parser("traffic", help="a few records a second, until stopped")
    traffic.add_argument("bootstrap", help="host:port of a broker")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    from demo.failure import DemoError  # late, as all below: they load the client libraries
    from tests.servers.errors import StackError

    try:
        if options.command == "up":
            from demo.background import up

            up(options.procfile)
        elif options.command == "down":
            from demo.background import down

            down()
        elif options.command == "traffic":
            from demo.traffic import run_traffic

            run_traffic(options.bootstrap)
        else:
            from demo.story import tell

            return 0 if tell(keep=options.keep, procfile=options.procfile) else _EXIT_FAILED
    except (DemoError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_FAILED
    return 0


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
