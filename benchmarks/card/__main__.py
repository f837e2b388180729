"""The command line of `benchmarks.card`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from benchmarks.card import items, report
from benchmarks.card.items import Item, Options


def _items(part: str) -> Callable[[], Mapping[str, Item]]:
    return lambda: import_module(f"benchmarks.card.{part}").ITEMS


PARTS = {part: _items(part) for part in report.PARTS}
"""By name, what answers the items of a part; imported only once it is wanted."""


def main(said: list[str] | None = None) -> None:
    """Run what was asked for."""
    import benchmarks.card as package

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.card",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("all", *PARTS, "report"))
    parser.add_argument("--out", type=Path, default=Path("outputs/card"), help="folder of the figures")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    parser.add_argument("--small", action="store_true", help="tiny shapes: figures that mean nothing")
    parser.add_argument("--limit", type=float, default=570.0, help="seconds of a part")
    parser.add_argument("--page", type=Path, default=items.ROOT / "docs/card.md", help="where the page goes")
    parser.add_argument("--only", default="", help="items whose names hold this")
    asked = parser.parse_args(said)
    options = Options(asked.out.absolute(), asked.device, asked.small, asked.limit)
    if asked.what != "report":
        _check(options)
    for part in PARTS if asked.what == "all" else (asked.what,):
        if part in PARTS:
            chosen = {name: item for name, item in PARTS[part]().items() if asked.only in name}
            items.run(part, chosen, options)
    if asked.what in ("all", "report"):
        if asked.small and asked.page == items.ROOT / "docs/card.md":
            asked.page = options.out / "card.md"  # a rehearsal's figures are no one's business
        report.write(options.out, asked.page)
        print(asked.page)


def _check(options: Options) -> None:
    """One line, and an end, where the device is not there."""
    from bridge_nerf.errors import UserError
    from bridge_nerf.priors.registry import check_device

    try:
        check_device(options.device)
    except UserError as error:
        sys.exit(f"error: {error}; a rehearsal is --device cpu --small")


if __name__ == "__main__":
    main()
