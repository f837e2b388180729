"""The 2D half: text to image, painting to real, illusions.

A `Spec` says what is made and with which numbers, an `ImageModule` is one optimisation of it. `stream` runs
it step by step for whoever wants to look on; `optimise_images` runs it in a folder, with Lightning, and
resumes.
"""
