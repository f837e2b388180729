"""Figures of the toybox, printed and written, and sheets of what a prior draws."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.registry import objectives_from_noise, stages_for
from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.figures import (
    HELD_OUT_SEED,
    Figure,
    flaw_figures,
    held_out_figures,
    judge_figures,
    object_figures,
    sampled,
    sampling_seconds,
)
from bridge_nerf.evaluation.kept import KeptScenes, Run, Scene
from bridge_nerf.evaluation.processes import finished
from bridge_nerf.evaluation.scene_figures import SceneFigures
from bridge_nerf.evaluation.sheets import encoded, labelled, sheet
from bridge_nerf.evaluation.world import turntable
from bridge_nerf.files import auxiliary, write_atomic
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.paths import asset
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import OBJECTS

MANY = 20_000
"""Network calls, one image each, for which it is said beforehand how long they take."""
SIDES = 8
"""Views of a scene in the contact sheet."""
PRIOR_FIGURES = {"objects": object_figures, "flaws": flaw_figures, "held-out": held_out_figures}


def sample_sheet(
    prompts: Sequence[str],
    out: Path,
    prior: PriorConfig,
    count: int,
    steps: int,
    guidance_scale: float,
    seed: int,
) -> None:
    """Draw `count` images of each prompt by DDIM and save them as one sheet, a row for each prompt.

    Raises:
        UserError: There is no prompt, `out` does not end as an image does, or the prior cannot be had, read a
            prompt or take so many steps.
    """
    if not prompts:
        raise UserError('nothing to draw; give prompts, for example: bridge-nerf sample "a pineapple"')
    if out.suffix.lower() not in (".png", ".jpg", ".webp"):
        raise UserError(f"{out} does not name an image; end it in .png, .jpg or .webp")
    loaded = prior.load()[1]
    loaded.check_prompts(list(prompts))
    if steps > (most := loaded.schedule.num_timesteps):
        raise UserError(f"--steps {steps} are more than the prior has times; give at most {most}")
    rows = [prompt for prompt in prompts for _ in range(count)]
    if len(rows) * steps > MANY:
        minutes = sampling_seconds(loaded, rows, steps) / 60
        print(f"this takes about {max(1, round(minutes))} min", flush=True)
    images = sampled(loaded, rows, seed, steps=steps, guidance_scale=guidance_scale)
    write_atomic(out, encoded(sheet(images, count), out.suffix))
    print(f"wrote {out}")


def evaluate_toybox(
    what: Sequence[str],
    prior: PriorConfig,
    judge: Path | None,
    toys: Sequence[str],
    objectives: Sequence[str],
    out: Path,
    seeds: Sequence[int] = (42,),
    processes: int = 1,
) -> list[Figure]:
    """Measure the figures named in `what`; print each, and write `out`/figures.json as soon as it is there.

    For scenes also `out`/scenes.json, the figures of each, and `out`/scenes.png, eight sides of each below
    those of the world's own toy. Their views are kept in `out`/views: the same call goes on where it was
    stopped, and measures anew without training where it was through.

    Args:
        judge: Folder of the judge; None for the one that ships.
        toys: The toys of the scenes; all where it is empty.
        objectives: The objectives of the scenes, as `named` reads them.
        seeds: Each toy is trained with every one.
        processes: Scenes trained at a time; see `finished`.

    Raises:
        UserError: Unknown toys or objectives, a seed given twice, a prior or judge that cannot be had, a kept
            scene of another run, or a run that failed.
        OSError: `out` cannot be written.
    """
    check_any(what, "figure")
    if unknown := [toy for toy in toys if toy not in OBJECTS]:
        raise UserError(f"unknown toys {', '.join(unknown)}; toys: {', '.join(OBJECTS)}")
    if twice := sorted({seed for seed in seeds if list(seeds).count(seed) > 1}):
        raise UserError(f"seed {twice[0]} is given more than once; give each of --seeds once")
    names = named(objectives)
    prior.resolve()
    kept = None
    if "scenes" in what:  # so that what is missing or mixed is said before, not after, the other figures
        from bridge_nerf.evaluation.scenes import kept_scenes

        every = dict.fromkeys(toys or OBJECTS)
        runs = [Run(objective, toy, seed) for objective in names for toy in every for seed in seeds]
        kept = kept_scenes(runs, prior, out / "views")
    path = out / "figures.json"

    def measured() -> Iterator[Figure]:
        loaded = Judge.load(judge or asset("toybox/judge"))
        if "judge" in what:
            yield from judge_figures(loaded)
        if chosen := [measure for name, measure in PRIOR_FIGURES.items() if name in what]:
            network = prior.load()[1]
            for measure in chosen:
                yield from measure(network, loaded)
        if kept is not None:
            yield from _scenes(loaded, prior, kept, processes, out)

    figures = []
    for figure in measured():
        print(figure.line(), flush=True)
        figures.append(figure)
        write_atomic(path, json.dumps([asdict(figure) for figure in figures], indent=1).encode())
    print(f"wrote {path}")
    return figures


def _scenes(
    judge: Judge, prior: PriorConfig, kept: KeptScenes, processes: int, out: Path
) -> Iterator[Figure]:
    from bridge_nerf.evaluation import scenes

    rows: list[SceneFigures] = []
    shown: dict[str, dict[str, Float[Tensor, "n 3 h w"]]] = {}

    def note(row: SceneFigures, scene: Scene) -> None:
        rows.append(row)
        write_atomic(out / "scenes.json", json.dumps([asdict(row) for row in rows], indent=1).encode())
        if row.toy not in shown:
            shown[row.toy] = {f"{row.toy}: the world's own": turntable(row.toy, SIDES, HELD_OUT_SEED).images}
        shown[row.toy][f"{row.toy}: {row.objective}, seed {row.seed}"] = scene.views
        with auxiliary(out / "scenes.png"):
            lines = {name: views for toy in shown.values() for name, views in toy.items()}
            write_atomic(out / "scenes.png", encoded(labelled(lines, SIDES), ".png"))

    train = partial(scenes.trained, prior=prior, out=out / "scenes")
    with closing(finished(kept, train, processes, out / "scenes")) as made:
        yield from scenes.scene_figures(judge, kept.identities, made, note)


def check_any(names: Sequence[str], kind: str) -> None:
    """Raises UserError where nothing of this kind is named."""
    if not names:
        raise UserError(
            f"no {kind} is named, so there is nothing to measure; name one, or leave the flag out"
        )


def named(objectives: Sequence[str]) -> list[str]:
    """Objectives by name, with "all" spelled out: every one that needs no image to start from.

    Raises:
        UserError: An unknown one, one that needs an image, or none at all.
    """
    words = [name.strip() for word in objectives for name in word.split(",") if name.strip()]
    names = [name for word in words for name in (objectives_from_noise() if word == "all" else [word])]
    for name in names:
        if stages_for(name).edits:
            raise UserError(
                f"{name} edits an image and there is none; choose {', '.join(objectives_from_noise())}"
            )
    if not names:
        raise UserError(f"no objective is named; choose all, or among {', '.join(objectives_from_noise())}")
    return list(dict.fromkeys(names))
