"""What nano is made of and how it is trained: the only place these numbers live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LATENT_CHANNELS = 16
TOKEN_CHANNELS = 4 * LATENT_CHANNELS


@dataclass(frozen=True)
class Architecture:
    """Shape of a small model of FLUX's classes.

    Attributes:
        vae_channels: channels of the four resolutions of the VAE, finest first.
        norm_groups: groups of the VAE's group normalisation.
        heads: attention heads.
        head_dim: channels of a head; the three `rope_axes` sum to it.
        rope_axes: rotary channels for text, row and column.
        double_blocks: blocks with separate image and text streams.
        single_blocks: blocks with one joined stream.
        text_tokens: learnt constants that stand where FLUX has the empty prompt.
        text_dim: channels of a text token.
        pooled_dim: channels of the pooled prompt.
        lora_rank: rank of the core's and the sharpener's adapters.
        max_side: longest image side the model is run at, px.
    """

    vae_channels: tuple[int, int, int, int] = (8, 16, 32, 64)
    norm_groups: int = 4
    heads: int = 3
    head_dim: int = 64
    rope_axes: tuple[int, int, int] = (8, 28, 28)
    double_blocks: int = 2
    single_blocks: int = 12
    text_tokens: int = 8
    text_dim: int = 64
    pooled_dim: int = 32
    lora_rank: int = 16
    max_side: int = 384

    def vae_config(self) -> dict[str, Any]:
        """Arguments of diffusers' AutoencoderKL."""
        return {
            'in_channels': 3,
            'out_channels': 3,
            'down_block_types': ['DownEncoderBlock2D'] * 4,
            'up_block_types': ['UpDecoderBlock2D'] * 4,
            'block_out_channels': list(self.vae_channels),
            'layers_per_block': 1,
            'latent_channels': LATENT_CHANNELS,
            'norm_num_groups': self.norm_groups,
            'use_quant_conv': False,
            'use_post_quant_conv': False,
            'mid_block_add_attention': False,
            'scaling_factor': 1.0,
            'shift_factor': 0.0,
        }

    def transformer_config(self) -> dict[str, Any]:
        """Arguments of diffusers' FluxTransformer2DModel."""
        return {
            'in_channels': TOKEN_CHANNELS,
            'num_layers': self.double_blocks,
            'num_single_layers': self.single_blocks,
            'attention_head_dim': self.head_dim,
            'num_attention_heads': self.heads,
            'joint_attention_dim': self.text_dim,
            'pooled_projection_dim': self.pooled_dim,
            'guidance_embeds': True,
            'axes_dims_rope': list(self.rope_axes),
        }


@dataclass(frozen=True)
class Optimisation:
    """One stage's optimisation.

    Attributes:
        seconds: length of the stage; the learning rate follows a cosine over it, or over each
            of its `cycles`.
        steps: most steps of the stage, whichever comes first.
        rate: peak learning rate.
        warmup: steps of linear warm-up, also after resuming.
        decay: weight decay.
        betas: of AdamW.
        clip: largest norm of the gradient.
        average: decay of the exponential moving average of the weights.
        muon: Muon instead of AdamW for the matrices inside the transformer's blocks.
        cycles: the stage goes through its schedule this often, and after each time the weights
            become a mean of those before and after it: of two trained models that lie in one
            valley the mean is better than both. 0 is one schedule, whose result stands as it is.
        share: of those after it in that mean: a half, or less where those before it are already a
            mean of several.
    """

    seconds: float
    rate: float
    steps: int = 1_000_000
    warmup: int = 200
    decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    average: float = 0.999
    muon: bool = False
    cycles: int = 0
    share: float = 0.5


@dataclass(frozen=True)
class TrainingSettings:
    """The whole recipe.

    Attributes:
        architecture: of the model.
        vae: optimisation of the autoencoder.
        decoder: optimisation of the autoencoder's decoder by itself, on maps.
        core: optimisation of base, core adapters, LCM and prompt constants together.
        sharpener: optimisation of the sharpener's adapters.
        sizes: (height, width) of the training pictures; one is drawn each step. All have the same
            number of tokens, so that the transformer's blocks are compiled once.
        size_weights: how often each size is drawn.
        batch: scenes a step and process.
        reuse: training steps that a rendered batch serves.
        stored_samples: samples of each size kept to draw batches from; 0.8 MB each at 320x240.
        vae_batch: pictures a step of the autoencoder; images, depth and normal maps mixed.
        latent_noise_weight: weight of the autoencoder's KL term.
        edge_weight: weight of the decoder stage's loss of depth edges.
        edge_radius: pixels that the sharpener's truth may be moved by towards the core's map; 0 is
            the paper's recipe.
        overlap_weight: weight of the sharpener's loss of depth edges that do not overlap with true
            ones; 0 is the paper's recipe.
        own_state_share: of the sharpener's states, those that its own first step leads to; 0 is the
            paper's recipe.
        decoder_with_core: keep training the decoder in the core's stage, by its decoded losses.
        truth_share: share of a batch whose truth is decoded for that, too.
        decoded_share: share of a batch whose prediction is also compared after decoding.
        decoded_weight: weight of that comparison's absolute error.
        relative_weight: weight of its relative error of depth, aligned as evaluation does.
        far_off_weight: weight of its share of pixels more than a quarter off, likewise.
        normals_every: normals, the easier task, are learnt in every n-th step only.
        textures: number of textures.
        seed: of scenes, textures and initial weights.
        precision: 'bfloat16' (autocast) or 'float32' (TF32 on GPUs that have it).
        compiled: compile renderer, encoder and blocks.
        recorded: record the core's steps as CUDA graphs.
    """

    architecture: Architecture = field(default_factory=Architecture)
    vae: Optimisation = field(
        default_factory=lambda: Optimisation(seconds=80, rate=2e-3, betas=(0.9, 0.99))
    )
    decoder: Optimisation = field(
        default_factory=lambda: Optimisation(seconds=90, rate=1e-3, decay=0.0)
    )
    core: Optimisation = field(
        default_factory=lambda: Optimisation(seconds=740, rate=1.5e-3, muon=True)
    )
    sharpener: Optimisation = field(
        default_factory=lambda: Optimisation(seconds=115, rate=1e-3, warmup=50, decay=0.0)
    )
    sizes: tuple[tuple[int, int], ...] = ((240, 320), (192, 400))
    size_weights: tuple[float, ...] = (0.75, 0.25)
    batch: int = 128
    reuse: float = 4.0
    stored_samples: int = 12_288
    vae_batch: int = 64
    latent_noise_weight: float = 1e-4
    edge_weight: float = 0.5
    edge_radius: int = 1
    overlap_weight: float = 1.0
    own_state_share: float = 0.5
    decoder_with_core: bool = False
    truth_share: float = 0.25
    decoded_share: float = 0.5
    decoded_weight: float = 1.0
    relative_weight: float = 4.0
    far_off_weight: float = 0.0
    normals_every: int = 4
    textures: int = 192
    seed: int = 2
    precision: str = 'bfloat16'
    compiled: bool = True
    recorded: bool = True
