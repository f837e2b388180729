"""Paths of the files that come with the package."""

from pathlib import Path

from bridge_nerf.errors import UserError

PACKAGE = Path(__file__).resolve().parent


def asset(name: str) -> Path:
    """The file or folder `assets/<name>`: inside the package (a wheel), else beside it (a checkout, a Space).

    Raises UserError where it is in neither place.
    """
    places = [PACKAGE / "assets", PACKAGE.parent / "assets"]
    for place in places:
        if (place / name).exists():
            return place / name
    looked = " and ".join(map(str, places))
    raise UserError(f"asset {name!r} is missing: looked in {looked}; install bridge_nerf again")
