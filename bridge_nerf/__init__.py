"""Score distillation as a Schrodinger bridge: images and NeRFs from text-to-image diffusion priors.

The paper: "Rethinking Score Distillation as a Bridge Between Image Distributions", NeurIPS 2024.
`bridge_nerf.distillation` is the paper; everything else feeds it an image and a prior.
"""

__version__ = "0.1.0"
