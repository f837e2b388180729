"""Texts of the slots, and the table that a run reads once."""

import pytest
import torch

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import PromptConfig
from bridge_nerf.guidance.prompts import PromptTable, slot_texts
from tests.nerf.stub import StubPrior


def test_the_text_of_every_slot() -> None:
    config = PromptConfig("sharp", "blurry")
    assert slot_texts("a ball", config, "front view", "") == {
        Slot.TARGET: "a ball, front view, sharp",
        Slot.SOURCE: "a ball, front view, blurry",
        Slot.NULL: "",
        Slot.NEGATIVE: "blurry",
        Slot.PROMPT: "a ball, front view",
        Slot.ADAPTER: "a ball, front view, sharp",
    }


def test_the_source_has_a_prompt_of_its_own_and_so_has_the_negative() -> None:
    texts = slot_texts("a ball", PromptConfig("sharp", "blurry", "a cube", "ugly."))
    assert texts[Slot.SOURCE] == "a cube, blurry" and texts[Slot.NEGATIVE] == "ugly"
    assert texts[Slot.TARGET] == "a ball, sharp"


def table(prior: StubPrior, *slots: Slot) -> PromptTable:
    texts = [slot_texts(prompt, PromptConfig("", "")) for prompt in ("a ball", "a ball, blurry", "a ball")]
    return PromptTable(prior, texts, slots)


def test_every_text_is_read_once_and_no_others_than_those_of_the_slots() -> None:
    prior = StubPrior()
    conditions = table(prior, Slot.TARGET, Slot.NULL).conditions()
    assert prior.asked == ["a ball", "a ball, blurry", "a ball", ""]
    assert conditions.keys() == {Slot.TARGET, Slot.NULL}
    assert len(conditions[Slot.TARGET]) == 3 and len(conditions[Slot.NULL]) == 1


def test_a_step_picks_rows() -> None:
    prior = StubPrior()
    whole = table(prior, Slot.TARGET, Slot.NULL)
    picked = whole.conditions([1, 1, 0, 2])
    assert picked[Slot.TARGET].says == ("a ball, blurry", "a ball, blurry", "a ball", "a ball")
    assert torch.equal(picked[Slot.TARGET].embedding[0], prior.image("a ball, blurry"))
    assert len(picked[Slot.NULL]) == 1 and prior.asked.count("") == 1


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(UserError, match="xylophone"):
        PromptTable(StubPrior(), [slot_texts("a xylophone", PromptConfig())], [Slot.TARGET])
