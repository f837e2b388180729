"""The commands that measure the 2D half on the toybox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bridge_nerf.cli.toybox import EvaluateToybox
from bridge_nerf.errors import UserError
from bridge_nerf.images.wishes import Wishes, load

if TYPE_CHECKING:
    from bridge_nerf.distillation.prior import ImagePrior
    from bridge_nerf.evaluation.making import Made, Make, Wanted
    from bridge_nerf.images.recipe import Task


@dataclass(kw_only=True)
class EvaluateImages(Wishes):
    """The image table in miniature: objectives, paintings and illusions on the toybox, seen by the judge.

    What was made is kept, so that the same command goes on where it was stopped.
    """

    what: tuple[Literal["objectives", "paintings", "illusions"], ...] = (
        "objectives",
        "paintings",
        "illusions",
    )
    """Which tables."""
    prior: str = "toybox"
    """The toybox, or a folder of another prior of that world."""
    objectives: tuple[str, ...] = ("all",)
    """Methods of the first table; "all" is every one that needs no image to start from."""
    editors: tuple[str, ...] = ("sds", "bridge")
    """Methods of the second, which start from paintings; SDEdit stands beside them."""
    turned: tuple[str, ...] = ("mushroom",)
    """Toys of the third: each upside down, with a pineapple upright."""
    count: int = 20
    """Images for each row."""
    batch: int = 4
    """Images made together; the seconds are those of a batch, shared out."""
    out: Path = Path("outputs/evaluate")
    """Folder for tables (txt, json, svg), contact sheets, and what was made."""

    def run(self) -> None:
        from bridge_nerf.evaluation.report import check_tables, image_tables

        if self.count < 2:
            raise UserError(f"--count {self.count} makes no sense; give a number from 2 on")
        methods: dict[str, tuple[Task, Sequence[str]]] = {
            "objectives": ("image", check_tables(self)),
            "paintings": ("paint", self.editors),
            "illusions": ("illusion", ("bridge",)),
        }
        self.check(dict(methods[table] for table in self.what), ())
        name, prior = load(self.prior, self.revision, self.dtype, self.graphs)
        image_tables(self, prior, self._make(name, prior))

    def _make(self, name: str, prior: ImagePrior) -> Make:
        import torch

        from bridge_nerf.evaluation.making import Made
        from bridge_nerf.images.making import made
        from bridge_nerf.images.spec import Subject

        def make(objective: str, wanted: Sequence[Wanted]) -> Made:
            views = ("0", "180")[: len(wanted[0].prompts)]
            starts = [w.start for w in wanted if w.start is not None]
            task: Task = "paint" if starts else "illusion" if len(views) > 1 else "image"
            subjects = [Subject(w.prompts, w.seed) for w in wanted]
            spec = self.spec(name, prior, task, objective, subjects, views)
            return Made(*made(spec, prior, self.out / "made", torch.stack(starts) if starts else None))

        return make


@dataclass
class Evaluate:
    """Measure on the toybox: what the 2D half makes (toybox), or the prior, the judge and 3D (prior)."""

    subject: tyro.conf.OmitSubcommandPrefixes[
        Annotated[EvaluateImages, tyro.conf.subcommand("toybox")]
        | Annotated[EvaluateToybox, tyro.conf.subcommand("prior")]
    ]

    def run(self) -> None:
        self.subject.run()
