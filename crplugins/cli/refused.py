"""Refused: a command that could not do its work, for a reason the user can read."""


class Refused(Exception):  # the sentence is the point, and it is no bug
    """Ends the command with exit code 1 and this one sentence on stderr."""
