"""Networks from diffusers' config.json: U-Nets, diffusion transformers, autoencoders.

A field that changes the network and cannot be expressed here is an error that names it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdiff.networks import autoencoder, video_autoencoder
from jaxdiff.networks.autoencoder import AutoencoderKL
from jaxdiff.networks.dit import CentredGrid, DiT, MMDiT, Rotary, SinCosPositions, StretchedGrid
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.times import SinCos
from jaxdiff.networks.unet import UNet
from jaxdiff.networks.vector_quantized import AutoencoderVQ
from jaxdiff.networks.video_autoencoder import VideoAutoencoder
from jaxdiff.pretrained.config import Config, mirrored, square


class Described(NamedTuple):
    """A network, and the shape [h, w, c] or [f, h, w, c] of an example of its input."""

    network: Any
    shape: tuple[int, ...]


MAPS: Mapping[int, Mapping[str, int]] = {
    4: {},
    5: {"depth": 1},
    9: {"mask": 1, "masked_image": 4},
}
"""The maps that a Stable Diffusion reads beside four channels of latents, by the number of all."""


def unet2d(config: Config, dtype: Any) -> Described:
    """Returns the network of UNet2DModel: DDPM (Ho et al., 2020), ADM (Dhariwal & Nichol, 2021)."""
    options = _unet(config)
    down, up = config.need("down_block_types", tuple), config.need("up_block_types", tuple)
    attends = mirrored(config, ("AttnDownBlock2D",), ("DownBlock2D", "ResnetDownsampleBlock2D"))
    ways = {"down": config.get("downsample_type"), "up": config.get("upsample_type")}
    kinds = {"Attn": lambda way: ways[way] or "conv", "Resn": lambda way: "resnet"}
    resampling = {
        kinds.get(name[:4], lambda way: "conv")(way)
        for way, names in (("down", down), ("up", up))
        for name in names[:-1]
    }
    if len(resampling) > 1:
        raise config.error("down_block_types", down, "all levels must resample in the same way")
    config.only(mid_block_type="UNetMidBlock2D")
    if config.get("attn_norm_num_groups") is not None:
        config.only(attn_norm_num_groups=options["num_groups"])
    size = config.need("sample_size") if any(attends) else config.get("sample_size")
    network = UNet(
        **options,
        attention_at=tuple(size >> level for level, attend in enumerate(attends) if attend),
        head_channels=config.get("attention_head_dim", 8),
        middle_attention=config.get("add_attention", True),
        resample_in_block="resnet" in resampling,
        inputs=Inputs(num_classes=config.get("num_class_embeds"), learned_null=False),
        dtype=dtype,
    )
    return Described(network, square(config, size, 2 ** (len(down) - 1)))


def unet2d_condition(config: Config, dtype: Any) -> Described:
    """Returns the network of UNet2DConditionModel: Stable Diffusion 1 and 2, SDXL."""
    options = _unet(config)
    levels = len(options["channels"])
    crossed = mirrored(config, ("CrossAttnDownBlock2D",), ("DownBlock2D",))
    config.only(
        mid_block_type="UNetMidBlock2DCrossAttn",
        conv_in_kernel=3,
        conv_out_kernel=3,
        resnet_out_scale_factor=1.0,
        attention_type="default",
        num_class_embeds=None,
    )
    for name in ("transformer_layers_per_block", "attention_head_dim", "num_attention_heads"):
        for value in config.get(name) if isinstance(config.get(name), tuple) else ():
            if not isinstance(value, int):
                raise config.error(name, config.get(name), "must be one number for each level")
    each = lambda value: value if isinstance(value, tuple) else (value,) * levels
    depths = each(config.get("transformer_layers_per_block", 1))
    # In this class, attention_head_dim is a number of heads.
    heads = config.get("num_attention_heads") or config.get("attention_head_dim", 8)
    kind = config.get("addition_embed_type")
    joint = {}
    if kind == "text_time":
        count = config.need("addition_time_embed_dim")
        width = config.need("projection_class_embeddings_input_dim")
        # The refiner's one encoder has vectors as wide as its tokens.
        refines = width - 5 * count == config.need("cross_attention_dim")
        numbers = {"size": 4, "aesthetic_score": 1} if refines else {"size": 6}
        joint = {
            "pooled_features": width - count * sum(numbers.values()),
            "joint_numbers": numbers,
            "number_features": count,
            "number_sinusoids": _sinusoids(config),
        }
    elif kind is not None:
        raise config.error("addition_embed_type", kind, "only 'text_time' can be expressed")
    channels, out = config.need("in_channels"), options["out_channels"]
    maps = MAPS.get(channels, {}) if out == 4 else {}
    if channels > out and not maps:
        known = "only 5, with depth, and 9, for inpainting, can be expressed beside 4"
        raise config.error("in_channels", channels, known)
    network = UNet(
        **options,
        transformer_depth=tuple(
            depth if cross else 0 for depth, cross in zip(each(depths), crossed, strict=True)
        ),
        middle_depth=each(depths)[-1],
        num_heads=heads,
        inputs=Inputs(
            text_features=config.need("cross_attention_dim"),
            maps=dict(maps),
            guidance_features=config.get("time_cond_proj_dim"),
            learned_null=False,
            **joint,
        ),
        dtype=dtype,
    )
    *side, _ = square(config, config.get("sample_size"), 2 ** (levels - 1))
    return Described(network, (*side, channels - sum(maps.values())))


def dit(config: Config, dtype: Any) -> Described:
    """Returns the network of DiTTransformer2DModel (Peebles & Xie, 2023)."""
    # Absent in the released files, whose weights were trained with 1e-6.
    config.only(norm_type="ada_norm_zero", norm_eps=1e-6)
    network = DiT(
        **_transformer(config),
        time_sinusoids=SinCos(frequency_shift=1.0),
        inputs=Inputs(num_classes=config.get("num_embeds_ada_norm", 1000)),
        dtype=dtype,
    )
    config.only(cross_attention_dim=None)
    return Described(network, square(config, config.get("sample_size"), network.patch[1]))


def pixart(config: Config, dtype: Any) -> Described:
    """Returns the network of PixArtTransformer2DModel (Chen et al., 2023)."""
    size, patch = config.need("sample_size"), config.get("patch_size", 2)
    sized = config.get("use_additional_conditions")
    sized = size == 128 if sized is None else sized
    scale = config.get("interpolation_scale") or max(size // 64, 1)
    options = _transformer(config)
    config.only(norm_type="ada_norm_single", norm_eps=1e-6, attention_type="default")
    config.only(cross_attention_dim=options["features"])
    network = DiT(
        **options,
        shared_modulation=True,
        positions=SinCosPositions(StretchedGrid(extent=size / patch / scale)),
        inputs=Inputs(
            text_features=config.need("caption_channels"),
            sliced_numbers={"resolution": 2, "aspect_ratio": 1} if sized else {},
            learned_null=False,
        ),
        dtype=dtype,
    )
    return Described(network, square(config, size, patch))


def sd3(config: Config, dtype: Any) -> Described:
    """Returns the network of SD3Transformer2DModel: Stable Diffusion 3 and 3.5 (Esser, 2024)."""
    size, patch = config.need("sample_size"), config.get("patch_size", 2)
    heads, width = config.need("num_attention_heads"), config.need("attention_head_dim")
    norms = {None: None, "rms_norm": "head"}
    if (qk_norm := config.get("qk_norm")) not in norms:
        raise config.error("qk_norm", qk_norm, "must be null or 'rms_norm'")
    config.only(caption_projection_dim=heads * width)
    depth, dual = config.need("num_layers"), config.get("dual_attention_layers", ())
    if dual != tuple(range(len(dual))) or len(dual) >= depth:
        raise config.error("dual_attention_layers", dual, "must be the first layers, and not all")
    network = MMDiT(
        features=heads * width,
        depth=depth,
        num_heads=heads,
        dual_depth=len(dual),
        patch=(1, patch, patch),
        positions=SinCosPositions(CentredGrid(size / patch, config.need("pos_embed_max_size"))),
        qk_norm=norms[qk_norm],
        inputs=Inputs(
            text_features=config.need("joint_attention_dim"),
            pooled_features=config.need("pooled_projection_dim"),
            learned_null=False,
        ),
        out_channels=config.get("out_channels"),
        dtype=dtype,
    )
    channels = config.need("in_channels")
    return Described(network, (patch, patch, channels))


def wan(config: Config, dtype: Any) -> Described:
    """Returns the network of WanTransformer3DModel, from text or an image (Wan team, 2025)."""
    config.only(cross_attn_norm=True, qk_norm="rms_norm_across_heads", eps=1e-6)
    config.only(pos_embed_seq_len=None)  # of two images
    heads, width = config.need("num_attention_heads"), config.need("attention_head_dim")
    channels, image = config.need("in_channels"), config.get("image_dim")
    config.only(added_kv_proj_dim=None if image is None else heads * width)
    out = config.get("out_channels") or channels
    known = channels - 2 * out
    if channels != out if image is None else known < 1:
        fits = f"must be {out} without image_dim, and more than {2 * out} with it"
        raise config.error("in_channels", channels, fits)
    maps = {} if image is None else {"known": known, "known_frames": out}
    network = DiT(
        features=heads * width,
        depth=config.need("num_layers"),
        num_heads=heads,
        mlp_features=config.need("ffn_dim"),
        patch=config.get("patch_size", (1, 2, 2)),
        positions=Rotary(),
        shared_modulation=True,
        qk_norm="all",
        text_norm=True,
        time_features=config.get("freq_dim", 256),
        inputs=Inputs(
            text_features=config.need("text_dim"),
            image_features=image,
            maps=maps,
            learned_null=False,
        ),
        out_channels=config.get("out_channels"),
        dtype=dtype,
    )
    return Described(network, (*network.patch, out))


def image_autoencoder(config: Config, dtype: Any) -> Described:
    """Returns the network of AutoencoderKL or VQModel (Rombach et al., 2022)."""
    settings = autoencoder.settings_from_config(config)
    network: Any = AutoencoderKL(settings, dtype)
    if "num_vq_embeddings" in config:
        codes = config.need("num_vq_embeddings"), config.get("vq_embed_dim")
        network = AutoencoderVQ(settings, *codes, dtype)
    return Described(network, (settings.factor, settings.factor, settings.image_channels))


def clip_autoencoder(config: Config, dtype: Any) -> Described:
    """Returns the network of AutoencoderKLWan (Wan team, 2025)."""
    settings = video_autoencoder.settings_from_config(config)
    shape = (1, settings.factor, settings.factor, settings.image_channels)
    return Described(VideoAutoencoder(settings, dtype), shape)


def _unet(config: Config) -> dict[str, Any]:
    channels = config.need("block_out_channels", tuple)
    config.only(
        center_input_sample=False,
        time_embedding_type="positional",
        mid_block_scale_factor=1,
        class_embed_type=None,
    )
    if config.get("time_embedding_dim") is not None:
        config.only(time_embedding_dim=4 * channels[0])
    if (activation := config.get("act_fn", "silu")) not in ("silu", "swish"):
        raise config.error("act_fn", activation, "only 'silu' can be expressed")
    shift = config.get("resnet_time_scale_shift", "default")
    if shift not in ("default", "scale_shift"):
        raise config.error("resnet_time_scale_shift", shift, "must be 'default' or 'scale_shift'")
    # Zero stands for one zero after the image and none before it.
    padding = {0: (0, 1), 1: (1, 1)}
    if (sides := config.get("downsample_padding", 1)) not in padding:
        raise config.error("downsample_padding", sides, "must be 0 or 1")
    return {
        "channels": channels,
        "layers_per_block": config.need("layers_per_block"),
        "scale_shift": shift == "scale_shift",
        "downsample_padding": padding[sides],
        "dropout": config.get("dropout", 0.0),
        "num_groups": config.need("norm_num_groups"),
        "eps": config.get("norm_eps", 1e-5),
        "time_sinusoids": _sinusoids(config),
        "out_channels": config.need("out_channels"),
    }


def _transformer(config: Config) -> dict[str, Any]:
    heads, width = config.need("num_attention_heads"), config.need("attention_head_dim")
    patch = config.get("patch_size", 2)
    config.only(
        attention_bias=True, activation_fn="gelu-approximate", norm_elementwise_affine=False
    )
    return {
        "features": heads * width,
        "depth": config.need("num_layers"),
        "num_heads": heads,
        "patch": (1, patch, patch),
        "dropout": config.get("dropout", 0.0),
        "out_channels": config.get("out_channels"),
    }


def _sinusoids(config: Config) -> SinCos:
    return SinCos(
        cos_first=config.get("flip_sin_to_cos", True),
        frequency_shift=float(config.get("freq_shift", 0)),
    )
