"""Objectives with every number as their authors ran them, by name.

`release` is what the paper's repository runs (davidmcall/SDS-Bridge, 2D_experiments; `release-3d` its
extension of threestudio), `paper-eval` the first author's public evaluation scripts
(mcallisterdavid/PDS_Generation), which it is likely, not certain, made the paper's table. A preset is a whole
run: what no `Stages` holds (steps, optimiser, words, times) is in `images/defaults.py`, and for an object in
`method_configs/release.py`. Not here: the scripts' CSD, which adds a term of another weight to SDS and is not
CSD.
"""

from collections.abc import Mapping

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.epsilon import NOISE, NULL, PROMPT, SOURCE, TARGET, guided
from bridge_nerf.distillation.objectives import Objective, bridge_second_stage, nfsd, sds, vsd, vsd_bridge
from bridge_nerf.distillation.stages import Stage, Stages
from bridge_nerf.distillation.weighting import sigma_over_alpha, uniform

IMAGE_PRESETS: Mapping[str, Stages] = {
    # Stage one knows the prompt alone, stage two adds the descriptors.
    "bridge:release": Stages(
        (Stage(Objective(guided(40.0, PROMPT), NOISE)), Stage(bridge_second_stage(40.0), 500))
    ),
    "bridge:paper-eval": Stages(
        (
            Stage(
                Objective(guided(40.0), NOISE, sigma_over_alpha),
                times=TimestepRange(0.1, 0.98, stride=20),
            ),
            Stage(Objective(100 * TARGET, 100 * SOURCE, uniform), 501, rate=0.2),
        )
    ),
    "sds:release": Stages((Stage(sds(40.0)),)),
    "sds:paper-eval": Stages((Stage(sds(100.0)),)),
    "nfsd:release": Stages((Stage(nfsd(40.0)),)),
    # As run: from 0.2 T on the negative branch had the empty prompt, so that only guidance is left.
    "nfsd:paper-eval": Stages((Stage(Objective(guided(7.5), NULL.from_t(0.2))),)),
    "vsd:release": Stages((Stage(vsd(7.5)),)),
    "vsd:paper-eval": Stages((Stage(vsd(7.5)),)),
    # Branch 2D_gen, whose steps along the flow are 10 times long whatever t is, and whose t falls to
    # [0, 0.002] T; here 100 steps reach each t, which falls to [0, 0.08] T.
    "vsd-bridge:paper-eval": Stages(
        (
            Stage(vsd(7.5)),
            Stage(
                vsd_bridge(100),
                700,
                times=TimestepRange(0.9, 0.98, 0.08, 90, anneal_begin=700, final_minimum=0.0),
            ),
        )
    ),
}
"""Presets for images made from a prompt."""

SCENE_PRESETS: Mapping[str, Stages] = {
    # Neither w(t) nor guidance in stage two: the weight in images, 40 sigma^2, is 0.8, 29 and 40 times as
    # much at t = 21, 505 and 979 of Stable Diffusion.
    "bridge:release-3d": Stages((Stage(sds(100.0)), Stage(Objective(TARGET, SOURCE, uniform), 20_000))),
}
"""Presets for objects."""

PRESETS: Mapping[str, Stages] = {**IMAGE_PRESETS, **SCENE_PRESETS}
"""All presets."""
