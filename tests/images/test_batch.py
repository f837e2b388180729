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
from bridge_nerf.images.batch import claim, items_for, read_prompts, run_batch, seed_for
from bridge_nerf.images.gallery import write_gallery
from bridge_nerf.images.image_files import note_in, say_once
from bridge_nerf.images.reproduce import reproduce
from tests.clusters import CLUSTERS
from tests.images.conftest import SPEC
from tests.nerf.stub import StubPrior
from tests.waiting import PATIENCE

PROMPTS = [f"a ball, number {k}" for k in range(40)]


def pixels(item) -> np.ndarray:
    return np.asarray(Image.open(item.folder / "picture.png"))


def worker(out: Path, stopped, ended, doomed: bool) -> None:
    """Notes every item that it has made. The doomed one stops for good within its second item; the other one
    waits for that within its first, so that neither makes everything alone.
    """
    made, begun = batch.make, itertools.count()

    def noted(item, module):
        first = next(begun) == 0
        for k, _ in enumerate(made(item, module)):
            if k == 5 and doomed and not first:
                stopped.set()
                time.sleep(PATIENCE)
            if k == 5 and first and not doomed:
                assert stopped.wait(PATIENCE)
            yield
        with (out / f"journal-{os.getpid()}").open("a") as file:
            file.write(f"{item.prompt}\n")
        ended.release()

    batch.make = noted
    run_batch(items_for(PROMPTS, SPEC, 0, out), StubPrior())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    items = items_for(PROMPTS, SPEC, 0, tmp_path_factory.mktemp("alone"))
    made = run_batch(items, StubPrior())
    assert made == [item.folder.name for item in items]
    return items


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
    items = items_for(PROMPTS, SPEC, 0, tmp_path)
    assert ends.keys() == set(PROMPTS) and set(ends.values()) == {1}
    for item, reference in zip(items, alone, strict=True):
        assert np.array_equal(pixels(item), pixels(reference))
    assert not list((tmp_path / "items").glob(".*"))


def test_finished_items_are_skipped_and_missing_ones_made(alone):
    victim = alone[3]
    before, data = {i.prompt: i.folder.stat().st_ino for i in alone if i is not victim}, pixels(victim)
    for path in victim.folder.iterdir():
        path.unlink()
    victim.folder.rmdir()
    assert run_batch(alone, StubPrior()) == [victim.folder.name]
    assert {i.prompt: i.folder.stat().st_ino for i in alone if i is not victim} == before
    assert np.array_equal(pixels(victim), data)


def test_an_item_can_be_reproduced(alone, tmp_path):
    again, difference = reproduce(alone[2].folder / "picture.png", tmp_path, StubPrior(), lambda _: None)
    assert difference == 0 and note_in(again)["prompt"] == alone[2].prompt


def test_what_a_dead_worker_left_half_done_is_swept_away(tmp_path):
    items = items_for(PROMPTS[:1], SPEC, 0, tmp_path)
    left = items[0].folder.with_name(f".{items[0].folder.name}.123")
    left.mkdir(parents=True)
    run_batch(items, StubPrior())
    assert items[0].finished and not left.exists()


def test_seeds_depend_on_prompt_and_base_seed_alone():
    seeds = {seed_for(prompt, base) for prompt in PROMPTS for base in range(5)}
    assert len(seeds) == 5 * len(PROMPTS)
    shuffled = items_for(PROMPTS[::-1], SPEC, 0, Path("x"))
    assert shuffled[::-1] == items_for(PROMPTS, SPEC, 0, Path("x"))


def test_a_batch_is_made_without_its_gallery(tmp_path, alone, capsys):
    (tmp_path / "index.html").mkdir()
    write_gallery(alone, tmp_path)
    assert len((tmp_path / "manifest.jsonl").read_text().splitlines()) == len(alone)
    assert "index.html could not be made" in capsys.readouterr().err


def test_the_gallery_shows_every_item_and_quotes_its_words(tmp_path, alone):
    out = alone[0].folder.parent.parent
    items = items_for(["a ball, <b>", *PROMPTS], SPEC, 0, out)
    run_batch(items, StubPrior())
    write_gallery(items, out)
    page = (out / "index.html").read_text()
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line["prompt"] for line in lines] == ["a ball, <b>", *PROMPTS]
    assert "a ball, &lt;b&gt;" in page and "<b>" not in page
    assert all((out / "items" / line["folder"] / "picture.png").exists() for line in lines)
    assert page.count("<img") == len(items)
    assert note_in(items[0].folder / "picture.png")["prompt"] == "a ball, <b>"


def test_a_prompt_that_the_prior_cannot_read_stops_the_batch_before_it_begins(tmp_path):
    items = items_for(["a ball", "a xylophone"], SPEC, 0, tmp_path)
    with pytest.raises(UserError, match="xylophone"):
        run_batch(items, StubPrior())
    assert not any(item.finished for item in items)


def test_an_item_that_cannot_be_made_costs_no_other(tmp_path, capsys):
    class Sick(StubPrior):
        def image(self, prompt):
            return super().image(prompt) * (float("nan") if "number 1" in prompt else 1)

    items = items_for(PROMPTS[:3], SPEC, 0, tmp_path)
    with pytest.raises(UserError, match=r"1 of 3 could not be made.*a ball, number 1"):
        run_batch(items, Sick())
    assert [item.finished for item in items] == [True, False, True]
    assert "failed  a ball, number 1: step 0" in capsys.readouterr().err
    assert run_batch(items, StubPrior()) == [items[1].folder.name]


def test_an_interrupted_batch_says_so_and_goes_on(tmp_path, monkeypatch, alone):
    items, made = items_for(PROMPTS[:3], SPEC, 0, tmp_path), batch.make

    def interrupted(item, module):
        for _ in made(item, module):
            if item is items[1]:
                os.kill(os.getpid(), signal.SIGINT)
            yield

    monkeypatch.setattr(batch, "make", interrupted)
    with pytest.raises(UserError, match="stopped with 1 of 3 done; the same command goes on"):
        run_batch(items, StubPrior())
    monkeypatch.setattr(batch, "make", made)
    assert len(run_batch(items, StubPrior())) == 2
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(items, alone[:3], strict=True))


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_worker_needs_no_cluster(tmp_path, monkeypatch, alone, cluster):
    """One process of a job, whoever started it, is a worker like any other."""
    for name, value in CLUSTERS[cluster].items():
        monkeypatch.setenv(name, value)
    items = items_for(PROMPTS[:2], SPEC, 0, tmp_path)
    assert run_batch(items, StubPrior()) == [item.folder.name for item in items]
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(items, alone[:2], strict=True))


def test_an_item_has_one_owner_at_a_time(tmp_path):
    (item,), interrupted = items_for(PROMPTS[:1], SPEC, 0, tmp_path), threading.Event()
    interrupted.set()
    with claim(item) as ours:
        assert ours
        with ThreadPoolExecutor() as others:
            answers = others.map(lambda give_up: claim(item, give_up).__enter__(), (None, interrupted))
            assert list(answers) == [False, False], "at once, and when the one who waits is interrupted"
    with claim(item) as ours:
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
    made = run_batch(items_for(PROMPTS[:2], old, 0, tmp_path), prior)
    capsys.readouterr()
    say_once.cache_clear()
    items = items_for(PROMPTS[:3], now, 0, tmp_path)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "an earlier version" in said and "give another --out" in said
    assert [item.finished for item in items] == [True, True, False]
    assert run_batch(items, prior) == [items[2].spec.name]
    write_gallery(items, tmp_path)
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["folder"] for line in lines] == [*made, items[2].spec.name]
