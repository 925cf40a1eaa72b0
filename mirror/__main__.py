"""The `mirror` command. Nothing is imported before Ctrl-C is looked after: that takes most of the first second."""

import sys

__all__ = ["main"]

_EXIT_INTERRUPTED = 130


def main() -> int:
    """Run ``mirror`` with the arguments of the process and return its exit code; see :func:`mirror.cli.__main__.main`."""
    try:
        from mirror.cli.__main__ import main as run

        return run()
    except KeyboardInterrupt:
        exec("")  # noqa: S102 - else CPython may end by the signal instead of with the code, see `mirror.cli.__main__`
        print("error: interrupted before anything was done", file=sys.stderr)
        return _EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
