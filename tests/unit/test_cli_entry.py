"""The command's own module: a Ctrl-C that comes while everything else is still being imported."""

import subprocess
import sys

_INTERRUPTED_IMPORT = """
import sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
from mirror.__main__ import main
sys.exit(main())
"""


def test_ctrl_c_while_the_command_is_imported() -> None:
    """The code of an interruption and one line, no traceback."""
    run = subprocess.run([sys.executable, "-c", _INTERRUPTED_IMPORT], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (130, "")
    assert run.stderr == "error: interrupted before anything was done\n"


def test_the_module_runs_as_the_command() -> None:
    """`python -m mirror` is `mirror`."""
    run = subprocess.run([sys.executable, "-m", "mirror", "--version"], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("mirror")
