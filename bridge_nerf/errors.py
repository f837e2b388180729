"""The one exception that command lines show without a traceback, and the other mistakes that they explain."""


class UserError(ValueError):
    """A mistake the user can mend. The message is one line: the bad value, the allowed ones, the fix."""


def want_of_memory(error: Exception) -> str | None:
    """What an error says of missing memory, in one line; None where it is about something else."""
    # By name and words: torch has a class for it on a GPU alone, and --help does not import torch.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not named and "can't allocate memory" not in str(error):
        return None
    return (str(error) or type(error).__name__).splitlines()[0]
