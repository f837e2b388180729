"""`python -m bridge_nerf.cli`."""

from bridge_nerf.cli import main

main()
