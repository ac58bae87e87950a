"""Errors that a person can mend. They end a command with one message and no traceback."""


class ExperimentError(Exception):
    """Something outside the program stopped it (no network, a full disk); exit status 1."""


class UserError(ExperimentError):
    """The user's input was wrong; the message says what, where and what to do; exit status 2."""
