"""Prompts that cannot be read, and names that are no prior: one line that names the cause and the fix."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.priors.prompts import Vocabulary
from bridge_nerf.priors.registry import load_prior
from bridge_nerf.wording import join_prompt


def refuses(call: Callable[[], object], *parts: str) -> None:
    """The call ends in one line that says all the parts."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, f"{part!r} is not in {message!r}"


@pytest.fixture(scope="module")
def closed(closed_folder: Path) -> DiffusersPrior:
    return DiffusersPrior.load(closed_folder)


@pytest.fixture(scope="module")
def opened(open_folder: Path) -> DiffusersPrior:
    return DiffusersPrior.load(open_folder)


@pytest.mark.parametrize("prompt", ["", "  ", "\n"])
def test_an_empty_prompt_is_refused_but_the_null_prompt_can_be_embedded(
    closed: DiffusersPrior, opened: DiffusersPrior, prompt: str
) -> None:
    for prior in (closed, opened):
        refuses(lambda prior=prior: prior.check_prompts(["an apple", prompt]), "prompt is empty")
        assert prior.embed([prompt]).embedding.shape == (1, 32, 16)


def test_known_words_pass_in_any_case_and_with_commas(closed: DiffusersPrior) -> None:
    known = ["a red pineapple, front view, white background", "An ICE CREAM,blue , sharp", "high resolution"]
    closed.check_prompts(known)


@pytest.mark.parametrize("word", ["dragon", "dragon's", "ice-cream", "apple.", "ананас", "apple\nzebra"])
def test_an_unknown_word_is_refused_by_all_who_read_it(closed: DiffusersPrior, word: str) -> None:
    offender = re.findall(r"dragon|-|\.|ананас|zebra", word)[0]
    known = ["knows objects: pineapple, apple, ice cream; colours: red, blue", "front view", "sharp"]
    for read in (closed.check_prompts, closed.embed):
        refuses(lambda read=read: read([f"a red {word}"]), f'unknown word "{offender}"', *known)


def test_a_near_miss_gets_a_suggestion(closed: DiffusersPrior) -> None:
    refuses(
        lambda: closed.check_prompts(["a pinapple"]), '"pinapple" in "a pinapple" (did you mean "pineapple"?)'
    )


def test_an_open_vocabulary_takes_any_word(opened: DiffusersPrior) -> None:
    opened.check_prompts(["a dragon's egg, 1.5 m"])


def test_a_prompt_is_never_cut_short(closed: DiffusersPrior, opened: DiffusersPrior) -> None:
    for prior in (closed, opened):
        prior.check_prompts(["apple " * 30])
        for read in (prior.check_prompts, prior.embed):
            refuses(lambda read=read: read(["apple " * 31]), "has 31 tokens", "takes 30", '"apple apple')


def test_the_limit_is_the_encoders_where_the_tokenizer_knows_none(open_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(open_folder, tmp_path / "prior")
    config = json.loads((folder / "tokenizer/tokenizer_config.json").read_text())
    del config["model_max_length"]
    (folder / "tokenizer/tokenizer_config.json").write_text(json.dumps(config))
    refuses(lambda: DiffusersPrior.load(folder).check_prompts(["apple " * 31]), "takes 30")


def test_vocabulary_counts_the_words_of_an_entry() -> None:
    vocabulary = Vocabulary({"views": ["front view"], "objects": ["Ice cream"]})
    assert vocabulary.words == {"front", "view", "ice", "cream"}
    refuses(lambda: vocabulary.check("a view"), 'unknown word "a"', "objects: Ice cream; views: front view")


def test_of_a_composed_text_it_is_said_what_is_the_prompt_and_what_was_added(
    opened: DiffusersPrior,
) -> None:
    """The tiny tokenizer has one token for each word and for the comma; 30 are left beside the marks."""
    flags = ["--target-descriptors", "--source-descriptors", "--pipeline.target-descriptors"]
    text = join_prompt("apple " * 20, "front view", "sharp " * 12)
    for read in (opened.check_prompts, opened.embed):
        refuses(
            lambda read=read: read([text]),
            "has 20 tokens and what is added to it 16",
            '("front view", "sharp sharp',
            "takes 30 in all: shorten the prompt to 14, or the descriptors",
            *flags,
        )
    refuses(
        lambda: opened.check_prompts([join_prompt("apple", "sharp " * 30)]), "in all: shorten the descriptors"
    )
    assert len(opened.embed([join_prompt("apple", "sharp")])) == 1
    torch.testing.assert_close(
        opened.embed([join_prompt("apple", "sharp")]).embedding, opened.embed(["apple, sharp"]).embedding
    )


def test_names_that_are_no_prior_are_refused(tmp_path: Path) -> None:
    for name in ("", "toybx"):
        refuses(lambda name=name: load_prior(name, "cpu"), f'unknown prior "{name}"', "toybox", "a folder")
    for name in (str(tmp_path / "absent"), "./absent", "a/b/c"):
        refuses(lambda name=name: load_prior(name, "cpu"), f'no folder "{name}"', "toybox", "a folder")
