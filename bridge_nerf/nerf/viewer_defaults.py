"""First values of nerfstudio's panels that suit an object in the unit ball."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from nerfstudio.viewer.viewer_elements import ViewerControl

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

    from bridge_nerf.nerf.model import BridgeModel

WHOLE = (2.0, 2.0, 2.0)
"""Sides of the cube around the unit ball."""
TEXTURE = {"# Faces": 5000, "Texture Resolution": 512}
"""Numbers that take ns-export a minute on a CPU: of each pixel it asks every face whether it lies there."""


class PanelDefaults(ViewerControl):
    """Makes the crop box hold the whole object, which nerfstudio's cuts, before the model's own background;
    and, on a CPU, the Export tab ask for a mesh that takes a minute: nerfstudio's takes hours."""

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        panel, model = viewer.control_panel, cast("BridgeModel", viewer.pipeline.model)
        panel._crop_scale.value = WHOLE  # nerfstudio has no settings for any of this
        red, green, blue = (255 * model.background.shown()).round().int().tolist()
        panel.background_color = (red, green, blue)
        if viewer.pipeline.device == torch.device("cpu"):
            for element in self.viser_server.gui._gui_input_handle_from_id.values():
                if (label := element._impl.label) in TEXTURE:
                    element.value = TEXTURE[label]
