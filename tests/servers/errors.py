"""The one error of the server stack."""


class StackError(RuntimeError):
    """A server could not be fetched or started; the message says what is missing and what to do."""
