import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from bridge_nerf.nerf.model import BridgeModel, BridgeModelConfig
from bridge_nerf.nerf.scene.field import FieldConfig
from bridge_nerf.nerf.scene.orbit import turntable

SMALL = FieldConfig(grid_resolutions=(8, 16), grid_features=2, hidden=8)


def make(**options) -> BridgeModel:
    torch.manual_seed(0)
    box = SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
    model = BridgeModelConfig(**{"field": SMALL, "samples": 24, "eval_samples": 24} | options)
    return model.setup(scene_box=box, num_train_data=1)


def rays(resolution: int = 24) -> RayBundle:
    origins, directions = turntable(3, 15.0, 3.3, 40.0).rays(resolution)
    return RayBundle(origins=origins, directions=directions, pixel_area=torch.ones(len(origins), 1))


def test_outputs_start_with_rgb_and_show_the_background_beside_the_object() -> None:
    model = make().eval()
    outputs = model.get_outputs(rays())
    assert list(outputs) == ["rgb", "albedo", "normals", "accumulation", "depth"]
    image = outputs["rgb"].view(3, 24, 24, 3)
    torch.testing.assert_close(image[:, 0, 0], torch.ones(3, 3))
    opacity, depth = (outputs[name].view(3, 24, 24) for name in ("accumulation", "depth"))
    assert (opacity[:, 12, 12] > 0.95).all()
    assert (opacity[:, 0, 0] == 0).all()
    assert ((depth[:, 12, 12] > 2.5) & (depth[:, 12, 12] < 3.3)).all()


@pytest.mark.parametrize("gradient", [True, False])
def test_where_nothing_is_hit_images_are_plain(gradient: bool) -> None:
    model, bundle = make(background="blue").eval(), rays()
    with torch.set_grad_enabled(gradient):
        outputs = {name: image.view(3, 24, 24, -1) for name, image in model.get_outputs(bundle).items()}
    through_the_ball = outputs["accumulation"][:, 3, 12]
    assert (through_the_ball < 0.5).all(), "this ray meets the ball and not the object"
    for name, plain in (("albedo", 1.0), ("normals", 0.5)):
        assert (outputs[name][:, [0, 3], [0, 12]] == plain).all()
    depth = outputs["depth"]
    assert torch.equal(depth[:, 0, 0], depth[:, 3, 12]), "no ball is seen"
    assert (depth <= depth[:, :1, :1]).all() and (depth[:, 12, 12] < 3.3).all()


def test_normals_point_away_from_a_ball_in_the_worlds_axes() -> None:
    model, bundle = make().eval(), rays()
    with torch.no_grad():
        for grid in model.field.encoding.parameters():
            grid.zero_()
        outputs = model.get_outputs(bundle)
    hit = outputs["accumulation"][:, 0] > 0.5
    points = (bundle.origins + outputs["depth"] * bundle.directions)[hit]
    normals = 2 * outputs["normals"][hit] - 1
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(len(normals)))
    cosines = (normals * torch.nn.functional.normalize(points, dim=-1)).sum(-1)
    assert cosines.min() > 0.95 and cosines.mean() > 0.99


def test_albedo_has_no_background_in_it() -> None:
    colours = []
    for background in ("blue", "white"):
        outputs = make(background=background).eval().get_outputs(rays())
        colours.append(outputs["albedo"])
    torch.testing.assert_close(*colours)
    clear = outputs["accumulation"][:, 0] > 0.999
    assert clear.any()
    torch.testing.assert_close(outputs["albedo"][clear], outputs["rgb"][clear], atol=2e-3, rtol=0)


def test_what_is_left_out_does_not_show() -> None:
    with torch.no_grad():
        exact = make(least_weight=0.0).eval().get_outputs(rays())["rgb"]
    pruned = make(least_weight=1e-3).eval().get_outputs(rays())["rgb"]
    torch.testing.assert_close(pruned, exact, atol=0.02, rtol=0)


def test_training_images_are_a_function_of_seed_and_step() -> None:
    model = make().train()

    def image(seed: int, step: int) -> torch.Tensor:
        model.seed = seed
        model.update_to_step(step)
        return model.get_outputs(rays())["rgb"].detach()

    first = image(1, 5)
    assert not torch.equal(image(1, 6), first)
    assert not torch.equal(image(2, 5), first)
    assert torch.equal(image(1, 5), first)


def test_images_for_people_do_not_depend_on_the_step() -> None:
    model = make(background="random").eval()
    first = model.get_outputs(rays())["rgb"]
    model.update_to_step(100)
    assert torch.equal(model.get_outputs(rays())["rgb"], first)


def test_every_parameter_learns() -> None:
    model = make(background="learned").train()
    model.get_outputs(rays())["rgb"].square().sum().backward()
    groups = model.get_param_groups()
    assert set(groups) == {"encoding", "network"}
    for parameter in groups["encoding"] + groups["network"]:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    held = {id(p) for group in groups.values() for p in group} | {id(model.device_indicator_param)}
    assert {id(p) for p in model.parameters()} == held


def test_a_look_in_parts_sees_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make().train()
    whole = model.get_outputs(rays())["rgb"]
    monkeypatch.setattr("bridge_nerf.nerf.model.POINTS", 500)
    torch.testing.assert_close(model.get_outputs(rays())["rgb"], whole)


def test_the_entropy_waits_for_its_step() -> None:
    model = make(sparsity_weight=2.0, entropy_weight=1.0, regularise_fully_from=0, entropy_from=5).train()
    for step, names in ((0, {"sparsity"}), (4, {"sparsity"}), (5, {"sparsity", "entropy"})):
        model.update_to_step(step)
        assert model.get_loss_dict(model.get_outputs(rays()), {}).keys() == names


def test_regularisers_act_from_their_step_on() -> None:
    weights = {"sparsity_weight": 2.0, "entropy_weight": 1.0, "distortion_weight": 1.0}
    model = make(**weights, regularise_from=10, regularise_fully_from=20).train()
    losses = []
    for step in (10, 15, 20, 30):
        model.seed = model.step = 0
        outputs = None
        model.update_to_step(step)
        outputs = model.get_outputs(rays())
        losses.append(model.get_loss_dict(outputs, {}))
    assert losses[0] == {}
    assert losses[1].keys() == losses[2].keys() == {"sparsity", "entropy", "distortion"}
    assert losses[1]["sparsity"] < 0.6 * losses[2]["sparsity"]
    assert make().train().get_loss_dict(make().train().get_outputs(rays()), {}) == {}


def test_rgba_takes_the_background_out() -> None:
    model = make(background="blue").eval()
    outputs = model.get_outputs(rays())
    rgba = model.get_rgba_image(outputs)
    assert rgba.shape[-1] == 4
    again = rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:]) * model.background.shown()
    torch.testing.assert_close(again, outputs["rgb"], atol=1e-3, rtol=0)
    for name in ("albedo", "normals"):
        torch.testing.assert_close(
            model.get_rgba_image(outputs, name), torch.cat([outputs[name], outputs["accumulation"]], -1)
        )


def test_a_crop_box_cuts() -> None:
    model = make().eval()
    bundle = rays()
    bundle.nears = torch.zeros_like(bundle.origins[:, :1])
    bundle.fars = torch.full_like(bundle.nears, 2.0)
    assert model.get_outputs(bundle)["accumulation"].max() == 0


@pytest.mark.parametrize("training", [True, False])
def test_rays_that_all_miss(training: bool) -> None:
    model = make().train(training)
    bundle = rays()
    bundle.origins = bundle.origins + 10
    assert model.get_outputs(bundle)["accumulation"].sum() == 0


def test_a_model_that_is_looked_at_while_it_trains_is_seen_as_it_is() -> None:
    model = make().eval()
    before = model.get_outputs(rays())["accumulation"].sum()
    with torch.no_grad():
        model.field.network[2].bias[0] += 4
    assert model.get_outputs(rays())["accumulation"].sum() > 1.2 * before


def test_training_leaves_out_what_is_empty_and_nothing_that_matters() -> None:
    models = {every: make(occupancy_every=every).train() for every in (0, 4)}
    looked: dict[int, list[int]] = {0: [], 4: []}
    gradients = {}
    for every, model in models.items():
        model.field.register_forward_pre_hook(lambda _, x, to=looked[every]: to.append(len(x[0])))
        model.get_outputs(rays())["rgb"].square().sum().backward()
        gradients[every] = model.field.network[0].weight.grad
    assert sum(looked[4][1:-1]) < 0.8 * sum(looked[0][:-1]), "the first look is at the cells themselves"
    assert looked[4][-1] == pytest.approx(looked[0][-1], rel=0.02), "samples that have gradients"
    torch.testing.assert_close(gradients[4], gradients[0], rtol=0.02, atol=1e-3)


def test_what_training_sees_changes_at_its_steps_only_and_is_part_of_the_state() -> None:
    model = make(occupancy_every=4).train()
    model.update_to_step(3)
    model.get_outputs(rays())
    assert model.occupied.all(), "until step 4 nothing is known"
    model.update_to_step(4)
    model.get_outputs(rays())
    found = model.occupied.clone()
    assert 0 < found.sum() < found.numel()
    with torch.no_grad():
        model.field.network[2].bias[0] += 4
    model.get_outputs(rays())
    assert (model.occupied >= found).all() and model.occupied.sum() > found.sum(), "what grows is found"
    before = model.occupied.clone()
    model.update_to_step(8)
    with torch.no_grad():
        model.field.network[2].bias[0] -= 4
        model.get_outputs(rays())
    assert torch.equal(model.occupied, before), "a look without gradient changes nothing"
    other = make(occupancy_every=4)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.occupied, before)
