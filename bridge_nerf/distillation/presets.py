"""Methods with every number as its authors ran it, by name.

`release` is what the paper's repository runs (davidmcall/SDS-Bridge, 2D_experiments), `paper-eval` the first
author's public evaluation scripts (mcallisterdavid/PDS_Generation), which it is likely, not certain, made the
paper's table. What no `Stages` holds is noted at each: prompts, optimiser, times. Not here: the scripts' CSD,
which adds a term of another weight to SDS and is no CSD.
"""

from collections.abc import Mapping

from bridge_nerf.distillation.epsilon import NOISE, NULL, SOURCE, TARGET, guided
from bridge_nerf.distillation.objectives import Objective, bridge_second_stage, nfsd, sds, vsd, vsd_bridge
from bridge_nerf.distillation.staging import Stage, Stages
from bridge_nerf.distillation.weighting import sigma_over_alpha, uniform

PRESETS: Mapping[str, Stages] = {
    # 1000 steps of AdamW, rate 0.01, weight decay 0.01, from unit noise; t from 0.02 T to 0.98 T.
    "bridge:release": Stages((Stage(sds(40.0)), Stage(bridge_second_stage(40.0), 500))),
    # 2800 steps, rate 0.01, 0.002 from stage two on; t from 0.1 T in stage one; TARGET is the bare prompt.
    "bridge:paper-eval": Stages(
        (
            Stage(Objective(guided(40.0), NOISE, sigma_over_alpha)),
            Stage(Objective(100 * TARGET, 100 * SOURCE, uniform), 501),
        )
    ),
    "sds:release": Stages((Stage(sds(40.0)),)),
    # 2500 steps from zeros.
    "sds:paper-eval": Stages((Stage(sds(100.0)),)),
    "nfsd:release": Stages((Stage(nfsd(40.0)),)),
    # As run: from 0.2 T on the negative branch was given the empty prompt, so that only guidance is left.
    "nfsd:paper-eval": Stages((Stage(Objective(guided(7.5), NULL.from_t(0.2))),)),
    # Branch 2D_gen: 100 steps of the bridge, t falling from about 0.94 T to 0, 100 network calls a way.
    "vsd-bridge:paper-eval": Stages((Stage(vsd(7.5)), Stage(vsd_bridge(100), 700))),
}
