"""Estimates of the noise as data: linear combinations of what a network or the algorithm can answer.

Because an estimate is a value, two objectives can be subtracted on paper, and one batched call of the network
answers whatever a step needs (`Problem.evaluate`). A difference of estimates reads as on paper:

    s * (TARGET - SOURCE) + a * (SOURCE - NOISE)
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Slot(StrEnum):
    """A source of answers: a network with a prompt, or the algorithm."""

    TARGET = "TARGET"
    """The prior with the target prompt."""
    SOURCE = "SOURCE"
    """The prior with a description of the image as it is now."""
    NULL = "NULL"
    """The prior with the empty prompt."""
    NEGATIVE = "NEGATIVE"
    """The prior with a description of what to avoid."""
    PROMPT = "PROMPT"
    """The prior with the prompt, without any descriptors."""
    ADAPTER = "ADAPTER"
    """A second network that follows the current images (VSD's LoRA)."""
    NOISE = "NOISE"
    """The noise between x and x_t; asks no network."""
    PREVIOUS = "PREVIOUS"
    """The last answer on a transport's way up; asks no network."""


class Term(NamedTuple):
    """`weight` times the answer of `slot`, for the samples whose t is at least `start` times T."""

    slot: Slot
    start: float
    weight: float


@dataclass(frozen=True)
class Epsilon:
    """A linear combination of slots, merged and sorted, so that equal combinations are equal values."""

    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        weights: dict[tuple[Slot, float], float] = {}
        for slot, start, weight in self.terms:
            weights[slot, start] = weights.get((slot, start), 0.0) + weight
        merged = [Term(*key, weight) for key, weight in weights.items() if weight != 0]
        merged.sort(key=lambda term: (list(Slot).index(term.slot), term.start))
        object.__setattr__(self, "terms", tuple(merged))

    def __add__(self, other: "Epsilon") -> "Epsilon":
        return Epsilon(self.terms + other.terms)

    def __sub__(self, other: "Epsilon") -> "Epsilon":
        return self + -1 * other

    def __rmul__(self, scale: float) -> "Epsilon":
        return Epsilon(tuple(term._replace(weight=scale * term.weight) for term in self.terms))

    def from_t(self, fraction: float) -> "Epsilon":
        """The same where t >= fraction * T, zero at cleaner times; decided sample by sample."""
        return Epsilon(tuple(term._replace(start=max(term.start, fraction)) for term in self.terms))

    @property
    def slots(self) -> frozenset[Slot]:
        """The slots that must be answered."""
        return frozenset(term.slot for term in self.terms)

    def __str__(self) -> str:
        def spell(term: Term) -> str:
            gate = f" [t >= {term.start:g} T]" if term.start else ""
            size = "" if abs(term.weight) == 1 else f"{abs(term.weight):g} "
            return f"{'-' if term.weight < 0 else '+'} {size}{term.slot}{gate}"

        return " ".join(map(spell, self.terms)).removeprefix("+ ") or "0"


TARGET, SOURCE, NULL, NEGATIVE, PROMPT, ADAPTER, NOISE, PREVIOUS = (
    Epsilon((Term(slot, 0.0, 1.0),)) for slot in Slot
)


def guided(scale: float, towards: Epsilon = TARGET) -> Epsilon:
    """Classifier-free guidance, in the only convention of this package: scale 1 is TARGET alone.

    Ho & Salimans 2022. Code that writes TARGET + s (TARGET - NULL) means scale s + 1 here.
    """
    return NULL + scale * (towards - NULL)
