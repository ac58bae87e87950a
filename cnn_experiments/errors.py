"""Errors that a person can fix. They end a command with one message and no traceback."""


class ExperimentError(Exception):
    """Something other than the input stopped the program, such as a failed download; exit status 1."""


class UserError(ExperimentError):
    """The user's input was wrong; the message says what, where and what to do; exit status 2."""
