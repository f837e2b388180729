"""The 2D half: text to image, painting to real, illusions.

A `Spec` says what is made and with which numbers, an `ImageModule` is one optimisation of it. `generate` runs
it step by step for whoever iterates; `optimise_images` records that in a folder, and resumes.
"""
