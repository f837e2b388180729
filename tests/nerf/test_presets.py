"""The numbers for a GPU: against published configurations, and over the steps where something changes."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from bridge_nerf.method_configs.presets import variant_config

from bridge_nerf.flags import leaves
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from bridge_nerf.nerf.scene import regularisers
from bridge_nerf.nerf.scene.field import BridgeField, FieldConfig
from bridge_nerf.nerf.scene.orbit import Orbit, random_orbit
from bridge_nerf.nerf.scene.rendering import march, ray_sums, sphere_span, weights
from tests.nerf.engine.test_trainer import same, state
from tests.nerf.stub import StubPrior

Train = Callable[[BridgeTrainerConfig, str], BridgeTrainer]

RELEASE_3D = {
    "max-num-iterations": 25_000,
    "pipeline.datamanager.cameras-per-step": 1,
    "pipeline.datamanager.train-resolution": 64,
    "pipeline.datamanager.final-resolution": 512,
    "pipeline.datamanager.final-resolution-from": 5000,
    "pipeline.datamanager.orbit.distance-range": (1.0, 1.5),
    "pipeline.datamanager.orbit.fov-range": (40.0, 70.0),
    "pipeline.datamanager.orbit.elevation-range": (-10.0, 45.0),
    "pipeline.datamanager.orbit.overhead-share": 0.0,
    "pipeline.view.front-angle": 30.0,
    "pipeline.view.back-angle": 180.0 - 30.0,
    "pipeline.view.overhead-elevation": 60.0,
    "pipeline.model.field.hash-levels": 16,
    "pipeline.model.field.hash-max-resolution": 4096,
    "pipeline.model.field.hidden": 64,
    "pipeline.model.sparsity-weight": 10.0,
    "pipeline.model.entropy-weight": 1000.0,
    "pipeline.model.entropy-from": 10_001,
    "pipeline.model.distortion-weight": 0.0,
    "pipeline.times.minimum": 0.02,
    "pipeline.times.maximum": 0.98,
    "pipeline.times.final-maximum": 0.5,
    "pipeline.times.anneal-begin": 5000,
    "pipeline.times.anneal-steps": 1,
    **{
        f"optimizers.{group}.optimizer.{name}": value
        for group, rate in (("encoding", 0.01), ("network", 0.001))
        for name, value in {"lr": rate, "betas": (0.9, 0.99), "eps": 1e-15, "weight-decay": 0.01}.items()
    },
}
"""davidmcall/SDS-Bridge, threestudio-sds-bridge/configs/sds-bridge.yaml, in our words. Their back_threshold
counts from behind; AdamW's weight decay is torch's default, the elevation of "overhead" threestudio's."""
GUIDANCE = {"sd": 100.0, "sdxl": 100.0, "sd3": 100.0, "if": 20.0}
"""threestudio's configs/dreamfusion-sd.yaml, -sdxl.yaml (of an earlier day) and -if.yaml;
yangxiaofeng/rectified_flow_prior, configs/rfds_sd3.yaml."""
CARDS: list[tuple[str, Any]] = [
    ("bridge-distill-lite", "sd"),
    ("bridge-distill-big", "sdxl"),
    *(("bridge-distill", kind) for kind in GUIDANCE),
]


def numbers(config: BridgeTrainerConfig) -> dict[str, Any]:
    return {leaf.flag: leaf.value for leaf in leaves(config)}


def test_the_authors_configuration_is_theirs() -> None:
    ours = numbers(variant_config("bridge-distill", "sd", "bridge:release-3d"))
    assert {flag: ours[flag] for flag in RELEASE_3D} == RELEASE_3D
    assert [ours[f"optimizers.{group}.scheduler.begin"] for group in ("encoding", "network")] == [25_000] * 2
    model = variant_config("bridge-distill", "sd", "bridge:release-3d").pipeline.model
    assert [model.entropy_weight_at(step) for step in (10_000, 10_001)] == [0.0, 1000.0]
    assert model.regularisation()(0) == 1


def test_large_priors_have_the_authors_numbers_in_two_fifths_of_the_steps() -> None:
    alike = ("lr", "betas", "eps", "distance-range", "fov-range", "sparsity-weight", "entropy-weight")
    alike += ("train-resolution", "times.minimum", "times.maximum", "times.final-maximum")
    scaled = ("max-num-iterations", "final-resolution-from", "times.anneal-begin")
    ours = numbers(variant_config("bridge-distill", "sd"))
    for flag, theirs in RELEASE_3D.items():
        if flag.endswith(alike):
            assert ours[flag] == theirs, flag
        if flag.endswith(scaled):
            assert ours[flag] == theirs * 10_000 / 25_000, flag
    assert ours["pipeline.model.entropy-from"] == 4000
    assert ours["pipeline.stage-start"] == 20_000 * 10_000 / 25_000


@pytest.mark.parametrize("kind", GUIDANCE)
def test_guidance_follows_the_family(kind: Any) -> None:
    for objective, scale in (("sds", GUIDANCE[kind]), ("bridge", GUIDANCE[kind]), ("vsd", None)):
        guidance = variant_config("bridge-distill", kind, objective).pipeline.guidance
        assert guidance.objective.guidance_scale == scale


@pytest.mark.parametrize(("name", "kind"), CARDS)
def test_rates_live_until_the_end(name: str, kind: Any) -> None:
    config = variant_config(name, kind)
    for group in ("encoding", "network"):
        ramp = config.optimizers[group]["scheduler"].ramp()
        assert ramp(config.max_num_iterations - 1) == 1
        assert config.pipeline.guidance.objective.stage_start < 10_000


def opacity(density: Callable[[torch.Tensor], torch.Tensor], orbit: Orbit, side: int = 24) -> torch.Tensor:
    origins, directions = orbit.rays(side)
    samples = march(origins, directions, *sphere_span(origins, directions), samples=64)
    w = weights(density(samples.positions), samples)
    return ray_sums(w, torch.ones_like(w)[:, None], samples)


def test_the_starting_object_covers_as_much_as_theirs() -> None:
    """Theirs: softplus(10 (1 - |x| / 0.5)), threestudio's blob_magic3d of scale 10 and width 0.5."""
    config = variant_config("bridge-distill", "sd").pipeline
    field = BridgeField(FieldConfig(grid_resolutions=(2,), blob_height=config.model.field.blob_height))
    for layer in field.network:
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    orbit = random_orbit(config.datamanager.orbit, 100, seed=0, step=0)
    with torch.no_grad():
        ours = opacity(lambda x: field(x)[0], orbit)
    theirs = opacity(lambda x: F.softplus(10 * (1 - x.norm(dim=-1) / 0.5)), orbit)
    assert abs(ours.mean() - theirs.mean()) < 0.03 and ours.mean() > 0.4


def test_the_turntable_shows_the_whole_ball() -> None:
    for name, kind in CARDS:
        cameras = variant_config(name, kind).pipeline.datamanager
        half = torch.deg2rad(torch.tensor(sum(cameras.orbit.fov_range) / 4))
        assert 1 < cameras.eval_distance * half.sin() < 1.2


def test_almost_every_training_ray_passes_the_ball() -> None:
    """Regularisers are means over these rays, threestudio's over all."""
    orbit = random_orbit(variant_config("bridge-distill", "sd").pipeline.datamanager.orbit, 100, 0, 0)
    near, far = sphere_span(*orbit.rays(16))
    assert (far > near).float().mean() > 0.98


def test_regularisers_weigh_as_in_threestudio() -> None:
    """Theirs beside a distillation loss of 0.5 |z - stopgrad(z - gradient)|^2, summed, over the batch."""
    o, hit = torch.rand(50), torch.ones(50, dtype=torch.bool)
    torch.testing.assert_close(regularisers.sparsity(o, hit), (o**2 + 0.01).sqrt().mean())
    clamped = o.clamp(1e-3, 1 - 1e-3)
    torch.testing.assert_close(regularisers.entropy(o, hit), F.binary_cross_entropy(clamped, clamped))


@pytest.fixture
def small(config: BridgeTrainerConfig, prior: StubPrior) -> Callable[[str, Any], BridgeTrainerConfig]:
    """A preset for a card in a few steps of few pixels; everything that begins late begins at step 2."""

    def make(name: str, kind: Any) -> BridgeTrainerConfig:
        preset = variant_config(name, kind)
        for part in ("output_dir", "vis", "turntable_frames", "steps_per_save", "machine"):
            setattr(preset, part, getattr(config, part))
        preset.max_num_iterations, preset.prior_kind, preset.prompt = 4, kind, "a ball"
        preset.pipeline.prior.name, preset.pipeline.model.prompt = "toybox", "a banana"
        cameras, model, guidance = (
            preset.pipeline.datamanager,
            preset.pipeline.model,
            preset.pipeline.guidance,
        )
        cameras.train_resolution, cameras.eval_resolution, cameras.eval_cameras = 8, 8, 2
        cameras.final_resolution, cameras.final_resolution_from = cameras.final_resolution and 16, 2
        guidance.times.anneal_begin, guidance.objective.stage_start, model.entropy_from = 2, 3, 2
        model.samples = model.eval_samples = 12
        model.field.hash_levels, model.field.hash_max_resolution = 2, 24
        return preset

    return make


@pytest.mark.parametrize(("name", "kind"), CARDS)
def test_presets_run_over_the_step_where_they_change(
    small: Callable[[str, Any], BridgeTrainerConfig],
    trained: Train,
    prior: StubPrior,
    name: str,
    kind: Any,
) -> None:
    config = small(name, kind)
    trainer = trained(deepcopy(config), "whole")
    seen = [trainer.pipeline.get_train_loss_dict(step) for step in (1, 2)]
    cameras = config.pipeline.datamanager.cameras_per_step
    sides = [8, 8] if kind == "if" else [8, 16]
    assert [len(outputs["rgb"]) for outputs, *_ in seen] == [cameras * side**2 for side in sides]
    assert "sparsity" in seen[0][1] and "entropy" not in seen[0][1]
    assert ("entropy" in seen[1][1]) == (kind != "if")
    assert trainer.pipeline.datamanager.get_train_rays_per_batch() == cameras * sides[1] ** 2
    assert not any("background" in text for text in prior.asked)


def test_resuming_over_that_step_is_never_having_stopped(
    small: Callable[[str, Any], BridgeTrainerConfig], trained: Train
) -> None:
    config = small("bridge-distill", "sd")
    whole = state(trained(deepcopy(config), "whole"))
    first = deepcopy(config)
    first.max_num_iterations = 2
    stopped = trained(first, "first")
    config.load_dir, config.max_num_iterations = stopped.checkpoint_dir, 2
    assert same(state(trained(config, "second")), whole)
