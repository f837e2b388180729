"""The prompt farm: no item lost, none done twice, whoever dies."""

from __future__ import annotations

import codecs
import itertools
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bridge_nerf.errors import UserError
from bridge_nerf.images import batch
from bridge_nerf.images.batch import batch_of, claim, prompt_of, read_prompts, run_batch, seed_for
from bridge_nerf.images.gallery import write_gallery
from bridge_nerf.images.image_files import note_in, say_once
from bridge_nerf.images.reproduce import reproduce
from tests.clusters import CLUSTERS
from tests.images.conftest import SPEC
from tests.nerf.stub import StubPrior
from tests.waiting import PATIENCE

PROMPTS = [f"a ball, number {k}" for k in range(40)]


def pixels(folder: Path) -> np.ndarray:
    return np.asarray(Image.open(folder / "picture.png"))


def worker(out: Path, stopped, ended, doomed: bool) -> None:
    """Notes each result that it has made. The doomed one stops for good within its second; the other one
    waits for that within its first, so that neither makes everything alone.
    """
    made, begun = batch.make, itertools.count()

    def noted(spec, folder, prior):
        first = next(begun) == 0
        for k, progress in enumerate(made(spec, folder, prior)):
            if k == 5 and doomed and not first:
                stopped.set()
                time.sleep(PATIENCE)
            if k == 5 and first and not doomed:
                assert stopped.wait(PATIENCE)
            yield progress
        with (out / f"journal-{os.getpid()}").open("a") as file:
            file.write(f"{prompt_of(spec)}\n")
        ended.release()

    batch.make = noted
    run_batch(batch_of(PROMPTS, SPEC, 0, out), StubPrior())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    specs = batch_of(PROMPTS, SPEC, 0, tmp_path_factory.mktemp("alone"))
    assert run_batch(specs, StubPrior()) == list(specs)
    return specs


def test_two_workers_and_a_killed_one_lose_nothing_and_repeat_nothing(tmp_path, alone):
    context = multiprocessing.get_context("fork")
    stopped, ended = context.Event(), context.Semaphore(0)
    doomed, other = (
        context.Process(target=worker, args=(tmp_path, stopped, ended, dies), daemon=True)
        for dies in (True, False)
    )
    doomed.start()
    other.start()
    for _ in PROMPTS[1:]:  # all but the one that the doomed worker has: for that the other one waits
        assert ended.acquire(timeout=PATIENCE)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.join(PATIENCE)
    other.join(PATIENCE)
    assert (doomed.exitcode, other.exitcode) == (-signal.SIGKILL, 0)
    ends = Counter(line for path in tmp_path.glob("journal-*") for line in path.read_text().splitlines())
    assert ends.keys() == set(PROMPTS) and set(ends.values()) == {1}
    for folder, reference in zip(batch_of(PROMPTS, SPEC, 0, tmp_path), alone, strict=True):
        assert np.array_equal(pixels(folder), pixels(reference))
    assert not list((tmp_path / "items").glob(".*"))


def test_finished_items_are_skipped_and_missing_ones_made(alone):
    victim = list(alone)[3]
    before, data = {folder: folder.stat().st_ino for folder in alone if folder != victim}, pixels(victim)
    for path in victim.iterdir():
        path.unlink()
    victim.rmdir()
    assert run_batch(alone, StubPrior()) == [victim]
    assert {folder: folder.stat().st_ino for folder in alone if folder != victim} == before
    assert np.array_equal(pixels(victim), data)


def test_an_item_can_be_reproduced(alone, tmp_path):
    image = list(alone)[2] / "picture.png"
    again, difference = reproduce(image, tmp_path, StubPrior(), lambda _: None)
    assert difference == 0 and note_in(again)["prompt"] == PROMPTS[2]


def test_what_a_dead_worker_left_half_done_is_swept_away(tmp_path):
    specs = batch_of(PROMPTS[:1], SPEC, 0, tmp_path)
    (folder,) = specs
    left = folder.with_name(f".{folder.name}.123")
    left.mkdir(parents=True)
    run_batch(specs, StubPrior())
    assert folder.exists() and not left.exists()


def test_seeds_depend_on_prompt_and_base_seed_alone():
    seeds = {seed_for(prompt, base) for prompt in PROMPTS for base in range(5)}
    assert len(seeds) == 5 * len(PROMPTS)
    assert batch_of(PROMPTS[::-1], SPEC, 0, Path("x")) == batch_of(PROMPTS, SPEC, 0, Path("x"))


def test_a_batch_is_made_without_its_gallery(tmp_path, alone, capsys):
    (tmp_path / "index.html").mkdir()
    write_gallery(list(alone), tmp_path)
    assert len((tmp_path / "manifest.jsonl").read_text().splitlines()) == len(alone)
    assert "index.html could not be made" in capsys.readouterr().err


def test_the_gallery_shows_every_item_and_quotes_its_words(tmp_path, alone):
    out = next(iter(alone)).parent.parent
    specs = batch_of(["a ball, <b>", *PROMPTS], SPEC, 0, out)
    run_batch(specs, StubPrior())
    write_gallery(list(specs), out)
    page = (out / "index.html").read_text()
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line["prompt"] for line in lines] == ["a ball, <b>", *PROMPTS]
    assert "a ball, &lt;b&gt;" in page and "<b>" not in page
    assert all((out / "items" / line["folder"] / "picture.png").exists() for line in lines)
    assert page.count("<img") == len(specs)
    assert note_in(next(iter(specs)) / "picture.png")["prompt"] == "a ball, <b>"


def test_a_prompt_that_the_prior_cannot_read_stops_the_batch_before_it_begins(tmp_path):
    specs = batch_of(["a ball", "a xylophone"], SPEC, 0, tmp_path)
    with pytest.raises(UserError, match="xylophone"):
        run_batch(specs, StubPrior())
    assert not any(folder.exists() for folder in specs)


def test_an_item_that_cannot_be_made_costs_no_other(tmp_path, capsys):
    class Sick(StubPrior):
        def image(self, prompt):
            return super().image(prompt) * (float("nan") if "number 1" in prompt else 1)

    specs = batch_of(PROMPTS[:3], SPEC, 0, tmp_path)
    with pytest.raises(UserError, match=r"1 of 3 could not be made.*a ball, number 1"):
        run_batch(specs, Sick())
    assert [folder.exists() for folder in specs] == [True, False, True]
    assert "failed  a ball, number 1: step 0" in capsys.readouterr().err
    assert run_batch(specs, StubPrior()) == [list(specs)[1]]


def test_an_interrupted_batch_says_so_and_goes_on(tmp_path, monkeypatch, alone):
    specs, made = batch_of(PROMPTS[:3], SPEC, 0, tmp_path), batch.make

    def interrupted(spec, folder, prior):
        for progress in made(spec, folder, prior):
            if folder == list(specs)[1]:
                os.kill(os.getpid(), signal.SIGINT)
            yield progress

    monkeypatch.setattr(batch, "make", interrupted)
    with pytest.raises(UserError, match="stopped with 1 of 3 done; the same command goes on"):
        run_batch(specs, StubPrior())
    monkeypatch.setattr(batch, "make", made)
    assert len(run_batch(specs, StubPrior())) == 2
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(specs, list(alone)[:3], strict=True))


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_worker_needs_no_cluster(tmp_path, monkeypatch, alone, cluster):
    """One process of a job, whoever started it, is a worker like any other."""
    for name, value in CLUSTERS[cluster].items():
        monkeypatch.setenv(name, value)
    specs = batch_of(PROMPTS[:2], SPEC, 0, tmp_path)
    assert run_batch(specs, StubPrior()) == list(specs)
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(specs, list(alone)[:2], strict=True))


def test_an_item_has_one_owner_at_a_time(tmp_path):
    (folder,), interrupted = batch_of(PROMPTS[:1], SPEC, 0, tmp_path), threading.Event()
    interrupted.set()
    with claim(folder) as ours:
        assert ours
        with ThreadPoolExecutor() as others:
            answers = others.map(lambda give_up: claim(folder, give_up).__enter__(), (None, interrupted))
            assert list(answers) == [False, False], "at once, and when the one who waits is interrupted"
    with claim(folder) as ours:
        assert ours


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_file_of_prompts(tmp_path, mark):
    (tmp_path / "a.txt").write_bytes(mark + b"a ball\r\n\n# note\n a car # red\na ball\n")
    assert read_prompts(tmp_path / "a.txt") == ["a ball", "a car"]
    (tmp_path / "b.txt").write_bytes(mark + b"# nothing\n")
    (tmp_path / "c.txt").write_text("a ball\n", encoding="utf-16")
    for name, words in (("b.txt", "holds no prompt"), ("c.txt", "UTF-16"), ("d.txt", "there is no file")):
        with pytest.raises(UserError, match=words):
            read_prompts(tmp_path / name)


def test_what_an_earlier_version_made_is_not_made_again(tmp_path, prior, capsys):
    """It noted other letters of the same weights, and so other names of folders."""
    old, now = replace(SPEC, weights="0123abcd"), replace(SPEC, weights="0123456789abcdef")
    made = run_batch(batch_of(PROMPTS[:2], old, 0, tmp_path), prior)
    capsys.readouterr()
    say_once.cache_clear()
    specs = batch_of(PROMPTS[:3], now, 0, tmp_path)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "an earlier version" in said and "give another --out" in said
    *before, last = specs
    assert before == made and not last.exists()
    assert run_batch(specs, prior) == [last] and last.name == specs[last].name
    write_gallery(list(specs), tmp_path)
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["folder"] for line in lines] == [folder.name for folder in specs]
