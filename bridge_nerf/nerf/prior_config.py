"""Where the prior computes, and how it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bridge_nerf.priors.registry import Graphs, dtype_of


@dataclass
class PriorConfig:
    """Where the prior computes, and how it is loaded."""

    prior_device: str | None = None
    """Where the prior computes, as in "cuda:1"; by default with the object."""
    prior_dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of the prior's networks; auto is the half precision of its family on a GPU. On a CPU it is
    bfloat16 where AVX-512 has it (and torch says so, from 2.11 on) and the networks take 128 MiB or more,
    else float32."""
    prior_revision: str | None = None
    """Branch, tag or commit of a hub id."""
    prior_checkpointing: bool = False
    """Encoding keeps few activations for its gradient and computes the others again, and takes images one
    at a time: less memory, slower."""

    prior_compiling: bool = False
    """The network goes through torch.compile: minutes at the first steps, a little less at each one after;
    on a CPU with bfloat16 more."""
    prior_graphs: Graphs = "auto"
    """Whether network and encoder are recorded as CUDA graphs, one for each set of shapes, and replayed: one
    launch instead of about a thousand, for memory of their own; auto is on a CUDA device. What vsd adds to
    the network runs without. Not run on a card yet."""

    def prior_options(self) -> dict[str, Any]:
        """What `load_prior` takes besides the name and the device."""
        return {
            "dtype": dtype_of(self.prior_dtype),
            "revision": self.prior_revision,
            "checkpointing": self.prior_checkpointing,
            "compiling": self.prior_compiling,
            "graphs": self.prior_graphs,
        }
