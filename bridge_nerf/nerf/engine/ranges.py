"""Which numbers the flags of bridge-distill take. What one flag's number means for another's is checked where
the two meet: in the guidance, the schedules, the orbit."""

from __future__ import annotations

from collections.abc import Mapping

from bridge_nerf.flags import COUNT, NOT_NEGATIVE, SEED, SHARE, SIZE, STEPS, Range

PIXELS = Range(1, 8192)
GROUPS = ("encoding", "network", "adapter")
"""Of parameters, each with an optimizer."""

RANGES: Mapping[str, Range] = {
    "machine.seed": SEED,
    "machine.num-devices": COUNT,
    "machine.num-machines": COUNT,
    "machine.machine-rank": NOT_NEGATIVE,
    "logging.steps-per-log": COUNT,
    "logging.max-buffer-size": COUNT,
    "logging.local-writer.max-log-size": NOT_NEGATIVE,
    "logging.local-writer.seconds": NOT_NEGATIVE,
    "viewer.websocket-port": Range(1, 65535),
    "viewer.websocket-port-default": Range(1, 65535),
    "viewer.num-rays-per-chunk": COUNT,
    "viewer.max-num-display-images": Range(-1),
    "viewer.jpeg-quality": Range(1, 100),
    "max-num-iterations": STEPS,
    "steps-per-save": COUNT,
    "steps-per-eval-batch": NOT_NEGATIVE,
    "steps-per-eval-image": NOT_NEGATIVE,
    "steps-per-eval-all-images": NOT_NEGATIVE,
    "load-step": NOT_NEGATIVE,
    "turntable-frames": Range(1, 10_000),
    "pipeline.errors-every": NOT_NEGATIVE,
    "pipeline.perp-neg": NOT_NEGATIVE,
    "pipeline.adapter-rank": Range(1, 1024),
    "pipeline.guidance-rescale": SHARE,
    "pipeline.negative-share": SHARE,
    "pipeline.negative-anneal-steps": NOT_NEGATIVE,
    "pipeline.view.front-angle": Range(0, 180),
    "pipeline.view.back-angle": Range(0, 180),
    "pipeline.datamanager.views": Range(1, 1024),
    "pipeline.datamanager.train-resolution": PIXELS,
    "pipeline.datamanager.final-resolution": PIXELS,
    "pipeline.datamanager.final-resolution-from": COUNT,
    "pipeline.datamanager.eval-resolution": PIXELS,
    "pipeline.datamanager.eval-views": Range(1, 10_000),
    "pipeline.datamanager.orbit.overhead-share": SHARE,
    "pipeline.model.eval-num-rays-per-chunk": COUNT,
    "pipeline.model.samples": Range(1, 10_000),
    "pipeline.model.eval-samples": Range(1, 10_000),
    "pipeline.model.least-weight": Range(0, below=1),
    "pipeline.model.occupancy-every": NOT_NEGATIVE,
    "pipeline.model.sparsity-weight": SIZE,
    "pipeline.model.entropy-weight": SIZE,
    "pipeline.model.distortion-weight": SIZE,
    "pipeline.model.entropy-from": NOT_NEGATIVE,
    "pipeline.model.field.grid-resolutions": Range(1, 2048),
    "pipeline.model.field.grid-features": Range(1, 1024),
    "pipeline.model.field.hash-levels": Range(1, 64),
    "pipeline.model.field.hash-max-resolution": Range(1, 2**20),
    "pipeline.model.field.hidden": Range(1, 2**16),
    "pipeline.model.field.blob-radius": Range(above=0),
    **{
        f"optimizers.{group}.{flag}": range_
        for group in GROUPS
        for flag, range_ in {
            "optimizer.lr": SIZE,
            "optimizer.eps": SIZE,
            "optimizer.betas": Range(0, below=1),
            "optimizer.weight-decay": SIZE,
            "optimizer.max-norm": Range(above=0),
            "scheduler.final": SIZE,
        }.items()
    },
}
"""By flag; numbers of all others must be finite."""
