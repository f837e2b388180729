"""Text to 3D as a nerfstudio method: a small radiance field, optimised by score distillation.

`field`, `rendering`, `regularisers` and `orbit` are plain torch; `model`, `datamanager`, `pipeline` and
`trainer` put them behind nerfstudio's interfaces. Nothing here imports a diffusion network: the prior is
loaded through `bridge_nerf.priors.registry`, by name, when training starts.
"""
