"""What a ledger's database may refuse, and how its failures are told."""


class LinesRefused(Exception):
    """The database works and will never take these lines: one or more of them are not valid records."""


class TooManyLines(Exception):
    """The answer to a question would have more lines than whoever asks wants."""


class LedgerUnreadable(Exception):
    """The database cannot answer. The text is the driver's."""


def reason_of(error: BaseException) -> str:
    """The first line of the error. SQLAlchemy puts the statement into the following ones."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
