"""The one exception that command lines show without a traceback, and the other mistakes that they explain."""


def printable(text: object) -> str:
    """A text as one line of a terminal: letters that would end it, or are none, as Python writes them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


class UserError(ValueError):
    """A mistake the user can mend. The message is one line: the bad value, the allowed ones, the fix.

    Args:
        message: It may quote what a file or a command line says; see `printable`.
    """

    def __init__(self, message: object) -> None:
        super().__init__(printable(message))


class Stopped(UserError):
    """The end of a run that was interrupted (Ctrl-C, SIGTERM, SIGHUP) and can go on."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its class where there is none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def want_of_memory(error: Exception) -> str | None:
    """The message of an error about missing memory, in one line; None for other errors."""
    # By name and words: torch has a class for it on a GPU alone, and --help does not import torch.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not named and "can't allocate memory" not in str(error):
        return None
    return first_line(error)
