"""Closed vocabularies of small models, and prompts in messages."""

import difflib
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge_nerf.errors import UserError
from bridge_nerf.reading import read_json

FILE = "words.json"


def quote(prompt: str) -> str:
    """The prompt in quotes, on one line of at most 60 characters."""
    return f'"{textwrap.shorten(prompt, 60, placeholder=" ...")}"'


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows.

    Args:
        entries: Category -> words. An entry of several words ("ice cream") allows each of its words.
    """

    entries: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, folder: Path) -> "Vocabulary | None":
        """The vocabulary in words.json of a pipeline's folder; None without one: any word is allowed.

        Raises:
            UserError: The file cannot be read.
        """
        file = folder / FILE
        if not file.exists():
            return None
        cure = 'it maps categories to lists of words, as in {"objects": ["apple"]}: restore it'
        vocabulary = cls(read_json(file, dict[str, list[str]], cure))
        if not vocabulary.words:
            raise UserError(f"{file} holds no word; {cure}")
        return vocabulary

    @property
    def words(self) -> frozenset[str]:
        """Every single word, in lower case."""
        entries = (entry for category in self.entries.values() for entry in category)
        return frozenset(word for entry in entries for word in entry.lower().split())

    def check(self, prompt: str) -> None:
        """Raise UserError for the first unknown word. Case does not matter and commas are free."""
        for word in re.findall(r"\w+|[^\w\s,]", prompt.lower()):
            if word not in self.words:
                known = f"this prior knows {self._listing()}"
                raise UserError(f'unknown word "{word}" in {quote(prompt)}{self._near(word)}: {known}')

    def _near(self, word: str) -> str:
        near = difflib.get_close_matches(word, sorted(self.words), n=1)
        return f' (did you mean "{near[0]}"?)' if near else ""

    def _listing(self) -> str:
        categories = sorted(self.entries, key=lambda name: name != "objects")
        return "; ".join(f"{name}: {', '.join(self.entries[name])}" for name in categories)
