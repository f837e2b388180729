"""Score distillation of anything that renders: configuration, prompts, random draws, and the step itself.

The 2D and the 3D half share it: each keeps what it optimises and hands over latents.
"""
