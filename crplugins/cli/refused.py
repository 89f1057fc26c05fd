"""Refused: a command could not do its work, for a reason that the user can read."""


class Refused(Exception):
    """Ends the command with exit code 1 and this message on stderr, without a traceback: it is not a bug."""
