"""The pipelines of Diffusers that can be a prior, and their parts. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, field

CLIP, CLIP_PROJECTED, T5 = "CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"
UNET, VAE = "UNet2DConditionModel", "AutoencoderKL"
SD3_TOKENS = 256
"""Tokens of its T5 that Stable Diffusion 3 reads, whether it has one or not."""


@dataclass(frozen=True)
class Family:
    """One kind of pipeline."""

    title: str
    """Name for messages."""
    kind: str
    """Kind of prior, by which the numbers of a run are chosen."""
    pipelines: tuple[str, ...]
    """Names of the pipeline in model_index.json."""
    prior: str
    """Class of the prior, as module:name."""
    networks: Mapping[str, str]
    """Folder -> class of Diffusers; the first is the network that denoises."""
    text_encoders: Mapping[str, str]
    """Folder of a text encoder -> class of Transformers; its tokenizer's folder has the same ending."""
    scheduler: str = "DDPMScheduler"
    """The class of Diffusers that reads the noise schedule."""
    optional: frozenset[str] = field(default_factory=frozenset)
    """Text encoders that model_index.json may leave out."""
    t5_tokens: int = 0
    """Number of tokens for a T5, which has no limit of its own."""
    half: str = "float16"
    """Half precision in which the denoiser was published."""
    overflowing: frozenset[str] = field(default_factory=frozenset)
    """Folders of the parts that overflow in float16."""

    @property
    def denoiser(self) -> str:
        """Folder of the denoiser."""
        return next(iter(self.networks))

    def weights(self, component: str) -> str:
        """Stem of a component's weight files."""
        return "diffusion_pytorch_model" if component in self.networks else "model"


def tokenizer_of(text_encoder: str) -> str:
    """Folder of the tokenizer that belongs to a text encoder's folder."""
    return text_encoder.replace("text_encoder", "tokenizer")


FAMILIES = (
    Family(
        "Stable Diffusion 1.x or 2.x",
        "sd",
        ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"),
        "bridge_nerf.priors.unets:StableDiffusion",
        {"unet": UNET, "vae": VAE},
        {"text_encoder": CLIP},
    ),
    Family(
        "Stable Diffusion XL",
        "sdxl",
        ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"),
        "bridge_nerf.priors.unets:StableDiffusionXL",
        {"unet": UNET, "vae": VAE},
        {"text_encoder": CLIP, "text_encoder_2": CLIP_PROJECTED},
        overflowing=frozenset({"vae"}),
    ),
    Family(
        "Stable Diffusion 3 or 3.5",
        "sd3",
        ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline"),
        "bridge_nerf.priors.flow:StableDiffusion3",
        {"transformer": "SD3Transformer2DModel", "vae": VAE},
        {"text_encoder": CLIP_PROJECTED, "text_encoder_2": CLIP_PROJECTED, "text_encoder_3": T5},
        scheduler="FlowMatchEulerDiscreteScheduler",
        optional=frozenset({"text_encoder_3"}),
        t5_tokens=SD3_TOKENS,
        half="bfloat16",
        overflowing=frozenset({"text_encoder_3"}),
    ),
    Family(
        "DeepFloyd IF, first stage",
        "if",
        ("IFPipeline", "IFImg2ImgPipeline"),
        "bridge_nerf.priors.unets:DeepFloyd",
        {"unet": UNET},
        {"text_encoder": T5},
        t5_tokens=77,
        overflowing=frozenset({"text_encoder"}),
    ),
)
PIPELINES = {name: family for family in FAMILIES for name in family.pipelines}
"""Name in model_index.json -> family."""
