"""Tables of what the 2D half makes on the toybox, printed and written, with a contact sheet for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.distillation.registry import stages_for
from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.illusions import illusion_rows
from bridge_nerf.evaluation.objectives import objective_rows
from bridge_nerf.evaluation.paintings import painting_rows
from bridge_nerf.evaluation.report import check_any, named
from bridge_nerf.evaluation.samples import TableOptions
from bridge_nerf.evaluation.sheets import encoded, labelled, sheet
from bridge_nerf.evaluation.table import text_table, write_table
from bridge_nerf.files import auxiliary, write_atomic
from bridge_nerf.images.spec import Spec
from bridge_nerf.paths import asset
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import OBJECTS


def image_tables(
    patterns: Mapping[str, Sequence[Spec]],
    prior: ImagePrior,
    turned: Sequence[str],
    options: TableOptions,
    out: Path,
) -> None:
    """Measure tables, print each row as soon as it is there, and save its images as a sheet. NAME.png has ten
    images of each row of the table.

    Args:
        patterns: Table ("objectives", "paintings" or "illusions") -> a specification for each objective.
        turned: Toys of the illusions: each upside down, with a pineapple upright.
    """
    judge = Judge.load(asset("toybox/judge"))
    pairs = [("pineapple", toy) for toy in turned]
    tables = {
        "objectives": lambda specs: objective_rows(specs, prior, judge, options),
        "paintings": lambda specs: painting_rows(specs, prior, judge, options),
        "illusions": lambda specs: illusion_rows(specs[0], prior, judge, pairs, options),
    }
    for name, specs in patterns.items():
        rows, shown, path = [], {}, out / name
        for row, images in tables[name](specs):
            rows.append(row)
            print(text_table(rows).splitlines()[-1] if len(rows) > 1 else text_table(rows), flush=True)
            write_table(rows, path, seed=options.seed)
            labels = [str(value) for value in asdict(row).values() if isinstance(value, str)]
            shown[" ".join(labels)] = images
            of_row, of_all = path.with_name(f"{name}-{'-'.join(labels).replace(' ', '')}.png"), f"{path}.png"
            with auxiliary(of_row):
                write_atomic(of_row, encoded(sheet(images[:40], 10), ".png"))
            with auxiliary(of_all):
                write_atomic(Path(of_all), encoded(labelled(shown, 10), ".png"))
        print(f"{out}: {name}.txt, .json, .svg, .png and a sheet for each row\n", flush=True)


def check_tables(
    what: Sequence[str], objectives: Sequence[str], editors: Sequence[str], turned: Sequence[str]
) -> list[str]:
    """The objectives of the first table, as `named` reads them.

    Raises:
        UserError: `image_tables` could not measure that: unknown objectives or toys, or none.
    """
    check_any(what, "table")
    names = named(objectives)
    for editor in editors:
        stages_for(editor)
    if "illusions" in what:
        check_any(turned, "toy")
    if strangers := set(turned) - set(OBJECTS):
        raise UserError(f"unknown toys: {', '.join(sorted(strangers))}; choose among {', '.join(OBJECTS)}")
    return names
