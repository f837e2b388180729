"""An objective of one's own, used by name on the command line.

python examples/own_objective.py image --prompt "a red apple" --objective half-bridge --steps 100
"""

from bridge_nerf import NOISE, OBJECTIVES, SOURCE, Objective, ObjectiveConfig, ObjectiveEntry, guided
from bridge_nerf.cli import main


def half_bridge(config: ObjectiveConfig, guidance_scale: float) -> Objective:
    """SDS whose source is half the noise and half the answer to the source prompt."""
    return Objective(target=guided(guidance_scale), source=0.5 * NOISE + 0.5 * SOURCE)


OBJECTIVES.register("half-bridge", ObjectiveEntry(half_bridge, guidance_scale=5.0))

if __name__ == "__main__":
    main()
