"""Texts of all slots, made of a prompt, and a table of their conditions, built once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.prior import Condition, ImagePrior
from bridge_nerf.guidance.config import PromptConfig
from bridge_nerf.wording import join_prompt


def slot_texts(prompt: str, config: PromptConfig, *words: str) -> dict[Slot, str]:
    """The text of each slot.

    Args:
        prompt: Prompt as the user wrote it.
        words: What else is true of the image, such as the view and the background.
    """
    source = config.source_prompt or prompt
    target = join_prompt(prompt, *words, config.target_descriptors)
    return {
        Slot.TARGET: target,
        Slot.SOURCE: join_prompt(source, *words, config.source_descriptors),
        Slot.NULL: "",
        # Were it empty, nothing but guidance would be left of nfsd.
        Slot.NEGATIVE: join_prompt(config.negative_prompt) or join_prompt(config.source_descriptors),
        Slot.PROMPT: join_prompt(prompt, *words),
        Slot.ADAPTER: target,
    }


class PromptTable:
    """Conditions by slot and row, read by the prior once; a step picks rows.

    Attributes:
        texts: The texts of each row, by slot.

    Args:
        texts: The texts of each row, by slot, all rows with the same slots.
        slots: Those that will be asked; no others are read.

    Raises:
        UserError: The prior cannot read one of the texts.
    """

    def __init__(self, prior: ImagePrior, texts: Sequence[Mapping[Slot, str]], slots: Iterable[Slot]) -> None:
        self.texts = texts
        columns = {slot: [row[slot] for row in texts] for slot in texts[0] if slot in set(slots)}
        columns = {slot: column[:1] if len(set(column)) == 1 else column for slot, column in columns.items()}
        everything = [text for column in columns.values() for text in column]
        prior.check_prompts([text for text in everything if text])
        # All together, before the first step: no text encoder travels while training goes on.
        conditions, self._conditions, end = prior.embed(everything), {}, 0
        for slot, column in columns.items():
            begin, end = end, end + len(column)
            self._conditions[slot] = conditions[begin:end]

    def conditions(self, rows: Sequence[int] | None = None) -> dict[Slot, Condition]:
        """The conditions of some rows, or of all; a slot whose rows are all alike has one."""
        if rows is None:
            return dict(self._conditions)
        return {
            slot: condition if len(condition) == 1 else Condition.cat([condition[row] for row in rows])
            for slot, condition in self._conditions.items()
        }
