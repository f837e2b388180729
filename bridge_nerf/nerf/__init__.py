"""Text to 3D as a nerfstudio method: a small radiance field, optimised by score distillation.

`scene` is plain torch: field, rendering, regularisers, background and cameras. `model`, `datamanager` and
`pipeline` put it behind nerfstudio's interfaces, `engine` trains it. The prior is loaded by name when
training starts, and distilled by `bridge_nerf.guidance`.
"""
