"""The one error of the demonstration."""


class DemoError(Exception):
    """Something did not hold or did not come in time; the message says what, where, and which log tells more."""
