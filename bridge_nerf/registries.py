"""Things by name, which other packages may add to: in code, or by an entry point."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from bridge_nerf.errors import UserError, first_line

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping by name that says which names there are when asked for another one.

    What another package adds is imported when its name is looked up: a broken package harms nobody else.

    Args:
        kind: The word for a member, for messages.
        group: The entry-point group in which other packages name theirs.
        member: The type of a member; None takes anything that can be called.
        own: Those of this package.
        reserved: Names that mean something else.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        member: type[T] | None,
        own: Mapping[str, T],
        reserved: Collection[str] = (),
    ) -> None:
        self.kind, self.group, self.member, self._own = kind, group, member, dict(own)
        self.reserved = frozenset(reserved)
        self._points: dict[str, EntryPoint] | None = None

    def register(self, name: str, value: T) -> None:
        """Add one for this process.

        Raises:
            UserError: The name is taken, or is not made of letters, digits, dots and dashes.
        """
        if name in self or name in self.reserved or not re.fullmatch(r"\w[\w.-]*", name):
            taken = ", ".join([*self, *sorted(self.reserved)])
            raise UserError(
                f'"{name}" cannot name a new {self.kind}: give letters, digits, dots and dashes, '
                f"other than {taken}"
            )
        if not self._fits(value):
            raise UserError(f'the {self.kind} "{name}" is a {type(value).__name__}, not {self._wanted}')
        self._own[name] = value

    def loadable(self) -> list[str]:
        """The names of all that can be loaded; a line on stderr for each that cannot."""
        names = []
        for name in self:
            try:
                self[name]
                names.append(name)
            except UserError as error:
                print(error, file=sys.stderr)
        return names

    def __getitem__(self, name: str) -> T:
        """Raises UserError for an unknown name, or where the package that adds it cannot be imported."""
        if name in self._own:
            return self._own[name]
        point = self._entry_points().get(name)
        if point is None:
            raise UserError(f"unknown {self.kind} {name!r}; choose one of {', '.join(self)}")
        package = point.dist.name if point.dist else point.module
        try:
            value = point.load()
        except Exception as error:  # whatever a package raises while it is imported
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise self._broken(name, package, reason) from error
        if not self._fits(value):
            raise self._broken(
                name, package, f"{point.value} is a {type(value).__name__}, not {self._wanted}"
            )
        self._own[name] = value
        return value

    def _fits(self, value: object) -> bool:
        return callable(value) if self.member is None else isinstance(value, self.member)

    @property
    def _wanted(self) -> str:
        return f"an {self.member.__name__}" if self.member else "a function or class"

    def _broken(self, name: str, package: str, reason: str) -> UserError:
        return UserError(
            f'the {self.kind} "{name}" of the package {package} cannot be loaded ({reason}): '
            f"update or uninstall {package}"
        )

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._own, *self._entry_points()]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._points is None:
            self._points = {point.name: point for point in entry_points(group=self.group)}
        return self._points
