"""Errors that the user can mend are one line."""

from bridge_nerf.errors import Stopped, UserError


def test_what_a_message_quotes_does_not_end_its_line() -> None:
    assert (
        str(UserError("no prior a\nb\u2028c\x1b[2J caf\udce9 é"))
        == r"no prior a\nb\u2028c\x1b[2J caf\udce9 é"
    )
    assert str(Stopped(OSError("a\rb"))) == r"a\rb"
