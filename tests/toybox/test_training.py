"""The training recipe at its smallest: it runs, resumes, and its result loads through the ordinary prior."""

import json
import re
import shutil
import signal
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bridge_nerf.errors import Stopped, UserError
from bridge_nerf.interrupts import ended_as_by_ctrl_c
from bridge_nerf.priors.registry import load_prior
from bridge_nerf.toybox.dataset import Shard
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.training import recipe
from bridge_nerf.toybox.training.autoencoder import LATENT_CHANNELS, Images, build_autoencoder, standardise
from bridge_nerf.toybox.training.diffusion import CaptionedLatents, DiffusionModule, build_unet
from bridge_nerf.toybox.training.fitting import COOL_DOWN, StepBatches, batches, fit, lr_schedule
from bridge_nerf.toybox.training.growing import grown_autoencoder, grown_unet
from bridge_nerf.toybox.training.judge import JudgeImages, JudgeModule
from bridge_nerf.toybox.training.recipe import PRESETS, named_preset, train_judge, train_prior
from bridge_nerf.toybox.training.text import MAX_TOKENS, single_words, word_tokenizer
from bridge_nerf.toybox.words import FLAWS, vocabulary
from tests.clusters import CLUSTERS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toybox")
    train_prior(folder, PRESETS["smoke"], accelerator="cpu")
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    train_judge(folder, PRESETS["smoke"], accelerator="cpu")
    return folder


def test_the_trained_folder_is_an_ordinary_prior_with_a_closed_vocabulary(trained):
    prior = load_prior(str(trained / "prior"), "cpu")
    assert prior.latent_shape == (LATENT_CHANNELS, 16, 16) and prior.image_size == 64
    prior.check_prompts(["a red apple, front view, white background, sharp"])
    with pytest.raises(UserError, match="zeppelin"):
        prior.check_prompts(["a zeppelin"])
    z = prior.encode(torch.rand(2, 3, 64, 64))
    assert prior.eps(z, torch.tensor([10, 900]), prior.embed(["a duck", ""])).shape == z.shape


def test_latents_have_mean_0_and_variance_1_a_channel_and_decode_as_before(trained):
    prior = load_prior(str(trained / "prior"), "cpu")
    images = Shard.load(trained / "pictures.npz").images
    latents = prior.encode(images.float() / 255)
    assert torch.allclose(
        latents.mean((0, 2, 3)), torch.zeros(LATENT_CHANNELS), atol=0.02
    )  # the weights are stored in half precision
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(LATENT_CHANNELS), atol=0.02)


def test_standardising_changes_no_reconstruction():
    autoencoder = build_autoencoder().requires_grad_(False)
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    raw = autoencoder.encode(x).latent_dist
    before = autoencoder.decode(raw.mean).sample
    standard = standardise(autoencoder, raw.mean)
    after = autoencoder.encode(x).latent_dist
    assert torch.allclose(after.mean, standard, atol=1e-4)
    assert torch.allclose(after.std * raw.mean.std((0, 2, 3))[:, None, None], raw.std, rtol=1e-3)
    assert torch.allclose(autoencoder.decode(standard).sample, before, atol=1e-4)


def test_a_longer_run_goes_on_from_the_last_checkpoint(trained):
    before = torch.load(trained / "diffusion" / "last.ckpt", weights_only=True)["global_step"]
    train_prior(trained, replace(PRESETS["smoke"], diffusion_steps=5), accelerator="cpu")
    after = torch.load(trained / "diffusion" / "last.ckpt", weights_only=True)["global_step"]
    assert (before, after) == (3, 5)


def test_a_resumed_training_ends_as_one_that_never_stopped(tmp_path, monkeypatch):
    preset = replace(PRESETS["smoke"], diffusion_steps=4)
    monkeypatch.setattr(recipe, "fit", partial(fit, save_every=1))
    step = DiffusionModule.training_step

    def until_the_lights_go_out(module, *batch):
        if module.global_step == 2:
            raise RuntimeError("no power")
        return step(module, *batch)

    with monkeypatch.context() as lights:
        lights.setattr(DiffusionModule, "training_step", until_the_lights_go_out)
        with pytest.raises(RuntimeError, match="no power"):
            train_prior(tmp_path / "a", preset, accelerator="cpu")
    resumed = train_prior(tmp_path / "a", preset, accelerator="cpu", workers=2)
    at_once = train_prior(tmp_path / "b", preset, accelerator="cpu")
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"):
        one, other = (load_file(folder / f"{part}.safetensors") for folder in (resumed, at_once))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_training_after_its_step_with_a_checkpoint(tmp_path, monkeypatch, number):
    """Lightning's own handler of SIGTERM would end it with exit code 0."""
    step = JudgeModule.training_step

    def told_to_end(module, *batch):
        if module.global_step == 1:
            signal.raise_signal(number)
        return step(module, *batch)

    with monkeypatch.context() as told:
        told.setattr(JudgeModule, "training_step", told_to_end)
        with pytest.raises(Stopped, match="stopped after step 2 of 3"), ended_as_by_ctrl_c():
            train_judge(tmp_path / "a", PRESETS["smoke"], accelerator="cpu")
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert torch.load(tmp_path / "a" / "judge-training" / "last.ckpt", weights_only=True)["global_step"] == 2
    one, other = (
        (train_judge(tmp_path / name, PRESETS["smoke"], accelerator="cpu") / "model.safetensors").read_bytes()
        for name in "ab"
    )
    assert one == other


def test_a_loss_that_is_not_finite_ends_the_training_and_spares_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "fit", partial(fit, save_every=1))
    step = DiffusionModule.training_step

    def nan_at_2(module, *batch):
        return step(module, *batch) * (float("nan") if module.global_step == 2 else 1)

    monkeypatch.setattr(DiffusionModule, "training_step", nan_at_2)
    with pytest.raises(UserError, match="training step 2: the loss is nan"):
        train_prior(tmp_path, replace(PRESETS["smoke"], diffusion_steps=4), accelerator="cpu")
    saved = torch.load(tmp_path / "diffusion" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


def test_batches_are_functions_of_seed_rank_and_step():
    class Draws:
        """Answers what it is asked."""

        def __len__(self) -> int:
            return 1000

        def __getitem__(self, draw):
            return draw[0], draw[1].random()

    def drawn(rank: int, step: int) -> list[list[float]]:
        return [x.tolist() for x in StepBatches(Draws(), 8, 5)[rank, step]]

    assert drawn(0, 2) == drawn(0, 2)
    assert drawn(0, 2) != drawn(1, 2) and drawn(0, 2) != drawn(0, 1)


def test_batches_do_not_depend_on_who_makes_them(trained):
    shard = Shard.load(trained / "pictures.npz")
    tokenizer = word_tokenizer(single_words(vocabulary()))
    latents = CaptionedLatents(torch.arange(len(shard)).float()[:, None, None, None], shard.scenes, tokenizer)
    for data in (Images(shard.images), JudgeImages(shard), latents):
        alone, helped = (
            list(islice(batches(data, 4, 0, start=3, rank=lambda: 1, workers=workers), 4))
            for workers in (0, 2)
        )
        for one, other in zip(alone, helped, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        assert not torch.equal(alone[0][0], alone[1][0])


def test_half_of_the_clean_images_of_the_judge_are_given_flaws(trained):
    shard = Shard.load(trained / "pictures.npz")
    clean = next(k for k, scene in enumerate(shard.scenes) if not scene.flaws)
    data = JudgeImages(shard)
    visits = [data[clean, np.random.default_rng(k)] for k in range(200)]
    flawed = [(image, scene) for image, scene in visits if scene.flaws]
    assert 70 <= len(flawed) <= 130
    before = shard.images[clean].float() / 255
    assert all((image - before).abs().max() > 0 for image, _ in flawed)
    assert all(torch.equal(image, before) for image, scene in visits if not scene.flaws)


def test_a_finished_training_comes_back_as_it_ended(tmp_path):
    one, other = (
        (train_judge(tmp_path, PRESETS["smoke"], accelerator="cpu") / "model.safetensors").read_bytes()
        for _ in range(2)
    )
    assert one == other


def test_a_folder_holds_one_training(trained):
    with pytest.raises(UserError, match="other sizes, seed or start"):
        train_prior(trained, PRESETS["smoke"], seed=5, accelerator="cpu")


class Runs:
    """What a pickle may do."""

    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "another's": lambda path: path.write_bytes((path.parent / "other").read_bytes()),
    "a pickle": lambda path: torch.save({"global_step": Runs(), "state_dict": Runs()}, path),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["prior-run.json", "pictures.npz", "latents.pt", "diffusion/last.ckpt"])
def test_a_torn_file_is_said_with_its_remedy(trained, tmp_path, monkeypatch, name, damage):
    folder = shutil.copytree(trained, tmp_path / "toybox")
    others = {
        "prior-run.json": lambda path: path.write_text('{"seed": [[[0]]], "more": null}'),
        "pictures.npz": lambda path: np.savez(path.open("wb"), pictures=np.zeros(3), scenes=["a"]),
        "latents.pt": lambda path: torch.save(torch.zeros(80, 8, 16, 16) / 0, path),
        "diffusion/last.ckpt": lambda path: shutil.copy(trained / "autoencoder" / "last.ckpt", path),
    }
    others[name]((folder / name).parent / "other")
    DAMAGES[damage](folder / name)
    monkeypatch.setattr(recipe, "_autoencoder", lambda *_: build_autoencoder().requires_grad_(False))
    with pytest.raises(UserError) as caught:
        train_prior(folder, replace(PRESETS["smoke"], diffusion_steps=6), accelerator="cpu")
    said = str(caught.value)
    assert (name in said or "prior-run.json" in name) and "\n" not in said
    assert re.search("remove it|choose another --folder|give a file|save it as UTF-8", said)


CHECKPOINTS = {
    "a negative step": lambda saved: saved.update(global_step=-1),
    "a huge step": lambda saved: saved.update(global_step=10**30),
    "a step as text": lambda saved: saved.update(global_step="3"),
    "another step": lambda saved: saved.update(global_step=2),
    "no average": lambda saved: saved.pop("averaging_state"),
    "no optimiser": lambda saved: saved.update(optimizer_states=[]),
    "an empty optimiser": lambda saved: saved["optimizer_states"][0].update(state={}),
    "half a step": lambda saved: saved["lr_schedulers"][0].update(last_epoch=2.5),
    "no schedule": lambda saved: saved.pop("lr_schedulers"),
    "no loops": lambda saved: saved.update(loops={}),
    "a loop without counts": lambda saved: saved["loops"]["fit_loop"].update(epoch_progress=[1]),
    "weights as a list": lambda saved: saved.update(state_dict=[1, 2]),
    "no numbers": lambda saved: saved["state_dict"]["judge.heads.bias"].fill_(float("nan")),
    "other shapes": lambda saved: saved["current_model_state"].update({"judge.heads.bias": torch.zeros(2)}),
    "no version": lambda saved: saved.pop("pytorch-lightning_version"),
    "no callbacks": lambda saved: saved.update(callbacks=7),
}


@pytest.mark.parametrize("change", CHECKPOINTS)
def test_a_checkpoint_that_says_something_else_is_refused(judged, tmp_path, change):
    folder = shutil.copytree(judged, tmp_path / "judge")
    path = folder / "judge-training" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    CHECKPOINTS[change](saved)
    torch.save(saved, path)
    with pytest.raises(
        UserError, match="last.ckpt is .*; remove it, and this part is trained anew"
    ) as caught:
        train_judge(folder, replace(PRESETS["smoke"], judge_steps=5), accelerator="cpu")
    assert "\n" not in str(caught.value)


def test_a_moved_training_goes_on_with_flags_of_its_own(judged, tmp_path):
    folder = shutil.copytree(judged, tmp_path / "judge")
    path = folder / "judge-training" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    saved["optimizer_states"][0]["param_groups"][0]["capturable"] = [False, 0]
    saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = torch.ones(2)
    (saving,) = (state for key, state in saved["callbacks"].items() if "ModelCheckpoint" in key)
    saving["kth_value"] = torch.ones(2)
    torch.save(saved, path)
    train_judge(folder, replace(PRESETS["smoke"], judge_steps=5), accelerator="cpu")
    made = torch.load(path, weights_only=True)
    assert made["global_step"] == 5
    (group,) = made["optimizer_states"][0]["param_groups"]
    assert group["capturable"] is False


def test_a_disk_that_is_full_keeps_the_last_checkpoint(judged, tmp_path, monkeypatch):
    folder = shutil.copytree(judged, tmp_path / "judge")
    before = (folder / "judge-training" / "last.ckpt").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bridge_nerf.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        train_judge(folder, replace(PRESETS["smoke"], judge_steps=5), accelerator="cpu")
    assert (folder / "judge-training" / "last.ckpt").read_bytes() == before
    assert not list(folder.rglob("*.unfinished"))


STARTS = {
    "no index": (lambda start: (start / "model_index.json").unlink(), "model_index"),
    "torn config": (lambda start: (start / "unet/config.json").write_text("{"), "the unet in"),
    "a wider network": (
        lambda start: edit(start / "unet/config.json", cross_attention_dim=64),
        "the unet in",
    ),
    "a list": (lambda start: (start / "vae/config.json").write_text("[]"), "the vae in"),
    "other words": (lambda start: (start / "words.json").unlink(), "not a prior of the toybox's words"),
    "another scale": (lambda start: edit(start / "vae/config.json", block_out_channels=[8, 8]), "the vae in"),
}


@pytest.mark.parametrize("damage", STARTS)
def test_a_prior_to_start_from_is_whole(trained, tmp_path, damage):
    start = shutil.copytree(trained / "prior", tmp_path / "start")
    change, said = STARTS[damage]
    change(start)
    with pytest.raises(UserError, match=said) as caught:
        recipe._earlier(start)
    assert "\n" not in str(caught.value)


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.slow
def test_training_goes_on_from_an_earlier_prior(trained, tmp_path):
    start = trained / "prior"
    later = train_prior(tmp_path, PRESETS["smoke"], seed=7, accelerator="cpu", start=start)
    images = torch.rand(2, 3, 64, 64)
    one, other = (load_prior(str(folder), "cpu") for folder in (start, later))
    assert torch.allclose(one.decode(one.encode(images)), other.decode(other.encode(images)), atol=5e-3)
    torch.manual_seed(7)
    unrelated = build_unet(PRESETS["smoke"].unet_channels)
    weights = [
        torch.cat([value.flatten() for value in net.parameters()])
        for net in (one.components.denoiser, other.components.denoiser, unrelated)
    ]
    moved, apart = ((weights[0] - other_weights).norm() for other_weights in weights[1:])
    assert 0 < moved < 0.1 * apart  # three steps change it a little


def test_there_must_be_a_prior_to_start_from(tmp_path):
    with pytest.raises(UserError, match="model_index"):
        train_prior(tmp_path, PRESETS["smoke"], accelerator="cpu", start=tmp_path)


def test_the_judge_trains_and_loads(tmp_path):
    judge = Judge.load(train_judge(tmp_path, PRESETS["smoke"], accelerator="cpu"))
    verdict = judge(torch.rand(3, 3, 64, 64))
    assert len(verdict.toys) == len(verdict.views) == len(verdict.colours) == 3
    assert ((verdict.clean >= 0) & (verdict.clean <= 1)).all()


def test_a_judge_of_no_numbers_is_refused(tmp_path):
    judge = Judge()
    judge.heads.weight.data.fill_(float("nan"))
    judge.save(tmp_path)
    with pytest.raises(UserError, match="not a judge, or damaged .heads.weight is not finite"):
        Judge.load(tmp_path)


@pytest.mark.parametrize("cluster", ["a SLURM job of four tasks", "the second task of srun"])
def test_a_training_needs_no_cluster(tmp_path, monkeypatch, cluster):
    for name, value in CLUSTERS[cluster].items():
        monkeypatch.setenv(name, value)
    Judge.load(train_judge(tmp_path, PRESETS["smoke"], accelerator="cpu"))
    assert (tmp_path / "judge-training" / "last.ckpt").exists()


def test_every_word_is_one_token_and_the_longest_caption_fits():
    tokenizer = word_tokenizer(single_words(vocabulary()))
    for word in single_words(vocabulary()):
        assert len(tokenizer(word).input_ids) == 3, word
    longest = f"a painting of an orange ice cream, overhead view, black background, {', '.join(FLAWS)}"
    assert len(tokenizer(longest).input_ids) <= MAX_TOKENS


def test_the_learning_rate_rises_holds_and_falls():
    values = [lr_schedule(step, 1000) for step in range(1001)]
    assert (
        values[0] == 0.1 and values[10] == 1 == values[int(1000 * (1 - COOL_DOWN)) - 1] and values[1000] == 0
    )
    assert all(a >= b for a, b in pairwise(values[10:]))


def test_an_untrained_autoencoder_keeps_the_shape():
    autoencoder = build_autoencoder()
    x = torch.rand(1, 3, 64, 64)
    assert autoencoder.encode(x).latent_dist.mean.shape == (1, LATENT_CHANNELS, 16, 16)
    assert autoencoder(x).sample.shape == x.shape


def test_unknown_presets_are_refused():
    with pytest.raises(UserError, match="cpu, gpu"):
        named_preset("tpu")


def test_a_prior_with_more_latent_channels_goes_on_from_one_with_fewer(trained, tmp_path):
    start, preset = trained / "prior", replace(PRESETS["smoke"], latent_channels=12)
    earlier, unet, *_ = recipe._earlier(start)
    torch.manual_seed(0)
    grown, wide = grown_autoencoder(earlier, 12), grown_unet(unet, 12)
    x, t, words = torch.rand(2, 3, 64, 64) * 2 - 1, torch.tensor([10, 900]), torch.randn(2, MAX_TOKENS, 128)
    with torch.no_grad():
        known, found = earlier.encode(x).latent_dist, grown.encode(x).latent_dist
        torch.testing.assert_close(found.mean[:, :8], known.mean)
        torch.testing.assert_close(found.std[:, :8], known.std)
        assert found.std[:, 8:].max() < 0.5 < found.mean[:, 8:].std() * 50
        z = torch.cat([known.mean, torch.randn(2, 4, 16, 16)], 1)
        torch.testing.assert_close(grown.decode(z).sample, earlier.decode(known.mean).sample)
        answer = wide(z, t, words).sample
        torch.testing.assert_close(answer[:, :8], unet(known.mean, t, words).sample)
        assert not answer[:, 8:].any()
    prior = load_prior(str(train_prior(tmp_path, preset, accelerator="cpu", start=start)), "cpu")
    assert prior.latent_shape == (12, 16, 16)
    with pytest.raises(UserError, match="has 12 latent channels, and this preset 8"):
        train_prior(tmp_path / "again", PRESETS["smoke"], accelerator="cpu", start=tmp_path / "prior")
