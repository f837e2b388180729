"""What the command line measures: figures printed and written, images laid out in sheets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.distillation.registry import OBJECTIVES, stages_for
from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.figures import (
    Figure,
    flaw_figures,
    held_out_figures,
    judge_figures,
    object_figures,
    sampled,
    scene_figures,
)
from bridge_nerf.evaluation.illusions import illusion_rows
from bridge_nerf.evaluation.making import Make
from bridge_nerf.evaluation.objectives import objective_rows
from bridge_nerf.evaluation.paintings import painting_rows
from bridge_nerf.evaluation.sheets import labelled, sheet
from bridge_nerf.evaluation.table import text_table, write_table
from bridge_nerf.files import auxiliary
from bridge_nerf.paths import asset
from bridge_nerf.priors.registry import dtype_of, load_prior, resolve_prior
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import OBJECTS

SIDES = 8
"""Of a scene, in the contact sheet."""


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def sample_sheet(command: Any) -> None:
    """Draw `command.count` images of each prompt and save the sheet."""
    if not command.prompts:
        raise UserError('nothing to draw; give prompts, for example: bridge-nerf sample "a pineapple"')
    if command.out.suffix.lower() not in (".png", ".jpg", ".webp"):
        raise UserError(f"{command.out} is no image's name; end it in .png, .jpg or .webp")
    prior = load_prior(command.prior, _device(), dtype_of(command.dtype))
    prior.check_prompts(list(command.prompts))
    if command.steps > (most := prior.schedule.num_timesteps):
        raise UserError(f"--steps {command.steps} are more than the prior has times; give at most {most}")
    command.out.parent.mkdir(parents=True, exist_ok=True)
    prompts = [prompt for prompt in command.prompts for _ in range(command.count)]
    images = sampled(prior, prompts, command.seed, steps=command.steps, guidance_scale=command.guidance_scale)
    sheet(images, command.count).save(command.out)
    print(f"wrote {command.out}")


def evaluate_toybox(command: Any, turntable: Callable[[str, str], Float[Tensor, "n 3 h w"]]) -> list[Figure]:
    """Measure what `command.what` names; print each figure and write `command.out`/figures.json as soon as it
    is there, and beside it scenes.png, eight sides of each scene.

    `turntable` trains a scene for (prompt, objective) and answers its images from all sides, RGB in [0, 1].
    Raises UserError for unknown toys or objectives, OSError where `command.out` cannot be written.
    """
    _check_any(command.what, "figure")
    unknown = [toy for toy in command.toys if toy not in OBJECTS]
    if unknown:
        raise UserError(f"unknown toys {', '.join(unknown)}; toys: {', '.join(OBJECTS)}")
    objectives = named(command.objectives)
    resolve_prior(command.prior, _device())
    command.out.mkdir(parents=True, exist_ok=True)
    scenes: dict[str, Float[Tensor, "n 3 h w"]] = {}

    def seen(prompt: str, objective: str) -> Float[Tensor, "n 3 h w"]:
        scenes[f"{objective}: {prompt}"] = views = turntable(prompt, objective)
        with auxiliary(sides):
            labelled(scenes, SIDES).save(sides)
        return views

    path, sides = command.out / "figures.json", command.out / "scenes.png"
    path.write_text("[]")
    figures = []
    for figure in _measured(command, objectives, seen):
        print(figure.line(), flush=True)
        figures.append(figure)
        path.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    print(f"wrote {path}")
    return figures


def image_tables(command: Any, prior: ImagePrior, make: Make) -> None:
    """Measure the tables that `command.what` names; each row is printed as soon as it is there, and its
    images are saved as a sheet. NAME.png has ten images of each row of the table.

    Raises UserError for unknown objectives and toys, before anything is made.
    """
    objectives = check_tables(command)
    judge = Judge.load(asset("toybox/judge"))
    size = (command.count, command.batch, command.seed)
    pairs = [("pineapple", toy) for toy in command.turned]
    tables = {
        "objectives": lambda: objective_rows(make, prior, judge, objectives, *size),
        "paintings": lambda: painting_rows(make, prior, judge, command.editors, *size),
        "illusions": lambda: illusion_rows(make, judge, pairs, "bridge", *size),
    }
    for name in command.what:
        rows, shown = [], {}
        for row, images in tables[name]():
            rows.append(row)
            print(text_table(rows).splitlines()[-1] if len(rows) > 1 else text_table(rows), flush=True)
            path = command.out / name
            write_table(rows, path, seed=command.seed)
            labels = [str(value) for value in asdict(row).values() if isinstance(value, str)]
            shown[" ".join(labels)] = images
            of_row, of_all = path.with_name(f"{name}-{'-'.join(labels).replace(' ', '')}.png"), f"{path}.png"
            with auxiliary(of_row):
                sheet(images[:40], 10).save(of_row)
            with auxiliary(of_all):
                labelled(shown, 10).save(of_all)
        print(f"{command.out}: {name}.txt, .json, .svg, .png and a sheet for each row\n", flush=True)


def check_tables(command: Any) -> list[str]:
    """The objectives of the first table; UserError for what `image_tables` could not make."""
    _check_any(command.what, "table")
    objectives = named(command.objectives)
    for editor in command.editors:
        stages_for(editor)
    if "illusions" in command.what:
        _check_any(command.turned, "toy")
    if strangers := set(command.turned) - set(OBJECTS):
        raise UserError(f"unknown toys: {', '.join(sorted(strangers))}; choose among {', '.join(OBJECTS)}")
    return objectives


def _check_any(names: Sequence[str], kind: str) -> None:
    if not names:
        raise UserError(
            f"no {kind} is named, so there is nothing to measure; name one, or leave the flag out"
        )


def named(objectives: Sequence[str]) -> list[str]:
    """Methods by name, with "all" spelled out: every one that needs no image to start from.

    Raises:
        UserError: An unknown one, one that needs an image, or none at all.
    """
    makers = [name for name in OBJECTIVES if not stages_for(name).edits]
    said = [name.strip() for given in objectives for name in given.split(",") if name.strip()]
    names = [name for given in said for name in (makers if given == "all" else [given])]
    for name in names:
        if stages_for(name).edits:
            raise UserError(f"{name} edits an image and there is none; choose {', '.join(makers)}")
    if not names:
        raise UserError(f"no objective is named; choose all, or among {', '.join(makers)}")
    return list(dict.fromkeys(names))


def _measured(command: Any, objectives: Sequence[str], turntable: Callable) -> Iterator[Figure]:
    judge = Judge.load(command.judge or asset("toybox/judge"))
    if "judge" in command.what:
        yield from judge_figures(judge)
    if {"objects", "flaws", "held-out"} & set(command.what):
        prior = load_prior(command.prior, _device(), dtype_of(command.dtype))
        for name, measure in (
            ("objects", object_figures),
            ("flaws", flaw_figures),
            ("held-out", held_out_figures),
        ):
            if name in command.what:
                yield from measure(prior, judge)
    if "scenes" in command.what:
        for objective in objectives:
            scene = partial(turntable, objective=objective)
            yield from scene_figures(judge, scene, command.toys or OBJECTS, objective)
