"""The one exception that command lines show without a traceback."""


class UserError(ValueError):
    """A mistake the user can mend. The message is one line: the bad value, the allowed ones, the fix."""
