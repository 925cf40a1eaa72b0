"""A `mirror` command with a clock around it: `python -m bench.timed <arguments of mirror>`.

The clock starts when the interpreter is up and everything is imported, and stops when the command returns; the two moments are printed
as one more line of JSON. Nothing is subtracted from anything.
"""

import importlib
import json
import sys
import time

from mirror.cli.__main__ import main
from mirror.cli.app import COMMANDS

__all__ = ["timed_main"]


def timed_main() -> int:
    """Run it; the exit code."""
    for name, (module, _help) in COMMANDS.items():
        if name in sys.argv[1:]:
            importlib.import_module(module)
    begin_s = time.time()
    code = main()
    print("\n" + json.dumps({"begin_s": begin_s, "finish_s": time.time()}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(timed_main())
