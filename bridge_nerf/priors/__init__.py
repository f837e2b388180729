"""Diffusion models that answer in eps: the only place that knows a network."""
