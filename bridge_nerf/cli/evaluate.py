"""The commands that measure the 2D half on the toybox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bridge_nerf.cli.toybox import EvaluateToybox
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.images.options import ImageOptions

if TYPE_CHECKING:
    from bridge_nerf.images.config import Task
    from bridge_nerf.images.spec import Spec


@dataclass(kw_only=True)
class EvaluateImages(ImageOptions):
    """The image table in miniature: objectives, paintings and illusions on the toybox, seen by the judge.

    Images are kept, so that the same command goes on where it was stopped.
    """

    what: tuple[Literal["objectives", "paintings", "illusions"], ...] = (
        "objectives",
        "paintings",
        "illusions",
    )
    """Tables to make."""
    prior: PriorConfig = field(default_factory=lambda: PriorConfig("toybox"))
    """The toybox, or a folder of another prior of that world."""
    objectives: tuple[str, ...] = ("all",)
    """Objectives of the first table; "all" is every one that needs no image to start from."""
    editors: tuple[str, ...] = ("sds", "bridge")
    """Objectives of the second, which start from paintings; SDEdit stands beside them."""
    turned: tuple[str, ...] = ("mushroom",)
    """Toys of the third: each upside down, with a pineapple upright."""
    count: int = 20
    """Images for each row."""
    batch: int = 4
    """Images made together; the seconds are those of a batch, shared out."""
    out: Path = Path("outputs/evaluate")
    """Folder for tables (txt, json, svg), contact sheets, and kept images."""

    def run(self) -> None:
        from bridge_nerf.evaluation.image_tables import check_tables, image_tables
        from bridge_nerf.evaluation.samples import TableOptions
        from bridge_nerf.images.spec import Subject

        if self.config.guidance.errors_every:
            raise UserError("--errors-every writes into the folder of a single run: use it with image")
        if self.count < 2:
            raise UserError(f"--count {self.count} makes no sense; give a number from 2 on")
        objectives = check_tables(self.what, self.objectives, self.editors, self.turned)
        tables: dict[str, tuple[Task, Sequence[str]]] = {
            "objectives": ("image", objectives),
            "paintings": ("paint", self.editors),
            "illusions": ("illusion", ("bridge",)),
        }
        self.check(dict(tables[table] for table in self.what), ())
        resolved, prior = self.prior.load()

        def pattern(task: Task, objective: str) -> Spec:
            transforms = ("0", "180") if task == "illusion" else ("0",)
            subjects = [Subject(("",) * len(transforms), self.seed)]
            return self.spec(resolved, prior, task, objective, subjects, transforms)

        patterns = {
            table: [pattern(tables[table][0], name) for name in tables[table][1]] for table in self.what
        }
        options = TableOptions(self.count, self.batch, self.seed, self.out / "made")
        image_tables(patterns, prior, self.turned, options, self.out)


@dataclass
class Evaluate:
    """Measure on the toybox: what the 2D half makes (toybox), or the prior, the judge and 3D (prior)."""

    subject: tyro.conf.OmitSubcommandPrefixes[
        Annotated[EvaluateImages, tyro.conf.subcommand("toybox")]
        | Annotated[EvaluateToybox, tyro.conf.subcommand("prior")]
    ]

    def run(self) -> None:
        self.subject.run()
