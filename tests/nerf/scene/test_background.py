"""Colours behind the object, and their names."""

import torch

from bridge_nerf.nerf.scene.background import Background
from bridge_nerf.photometry import BACKGROUNDS


def test_the_palette_names_what_it_shows() -> None:
    background = Background("palette")
    drawn = {background.name(0, step) for step in range(60)}
    assert drawn == set(BACKGROUNDS) == set(background.names())
    for step in range(5):
        name = background.name(0, step)
        assert name is not None
        torch.testing.assert_close(background.colour(0, step), torch.tensor(BACKGROUNDS[name]))
    torch.testing.assert_close(background.shown(), torch.ones(3))


def test_other_backgrounds() -> None:
    assert Background("gray").name(0, 3) == "gray"
    assert Background("random").name(0, 3) is None
    assert not torch.equal(Background("random").colour(0, 3), Background("random").colour(0, 4))
    assert torch.equal(Background("random").colour(0, 3), Background("random").colour(0, 3))
    learned = Background("learned")
    learned.colour(0, 0).sum().backward()
    assert learned.logits is not None and learned.logits.grad is not None
