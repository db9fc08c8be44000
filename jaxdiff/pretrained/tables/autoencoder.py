"""The autoencoders of latent diffusion as diffusers and as Rombach et al. (2022) name them."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from jaxdiff.pretrained.layouts import POINTWISE_CONV
from jaxdiff.pretrained.rules import Table, affine, norm, rule, skip, within
from jaxdiff.pretrained.tables.unet import ATTENTION, RESIDUAL

DEPRECATED_ATTENTION = (
    *norm("norm", "group_norm"),
    *affine("query", "query"),
    *affine("key", "key"),
    *affine("value", "value"),
    *affine("out", "proj_attn"),
)
"""As in files of before diffusers 0.17."""

LDM_RESIDUAL = (
    *norm("norm_in", "norm1"),
    *affine("conv_in", "conv1"),
    *norm("norm_out", "norm2"),
    *affine("conv_out", "conv2"),
    *affine("shortcut", "nin_shortcut"),
)
LDM_ATTENTION = (
    *norm("norm", "norm"),
    *affine("query", "q", POINTWISE_CONV),
    *affine("key", "k", POINTWISE_CONV),
    *affine("value", "v", POINTWISE_CONV),
    *affine("out", "proj_out", POINTWISE_CONV),
)
QUANTIZERS = (
    *affine("quant", "quant_conv"),
    *affine("post_quant", "post_quant_conv"),
    *rule("codebook", "quantize.embedding.weight"),
)


def autoencoder(levels: int, attention: Table = ATTENTION) -> Table:
    """Returns the table of diffusers' AutoencoderKL or VQModel with `levels` levels."""

    def half(way: str, theirs: list[int]) -> Table:
        ends = (
            *affine("conv_in", "conv_in"),
            *norm("norm_out", "conv_norm_out"),
            *affine("conv_out", "conv_out"),
            *within("middle_{i}_residual", "mid_block.resnets.{i}", RESIDUAL),
            *within("middle_attention", "mid_block.attentions.0", attention),
        )
        for level, block in enumerate(theirs):
            there = f"{way}_blocks.{block}"
            ends += within(f"{way}_{level}_{{i}}_residual", f"{there}.resnets.{{i}}", RESIDUAL)
            ends += affine(f"{way}_{level}/conv", f"{there}.{way}samplers.0.conv")
        return ends

    return (
        *within("encoder", "encoder", half("down", [*range(levels)])),
        *within("decoder", "decoder", half("up", [*reversed(range(levels))])),
        *QUANTIZERS,
    )


def ldm_autoencoder() -> Table:
    """Returns the table of the code of Rombach et al. (2022), also that of FLUX's own files."""

    def half(way: str) -> Table:
        return (
            *affine("conv_in", "conv_in"),
            *within(f"{way}_{{i}}_{{j}}_residual", f"{way}.{{i}}.block.{{j}}", LDM_RESIDUAL),
            *affine(f"{way}_{{i}}/conv", f"{way}.{{i}}.{way}sample.conv"),
            *within("middle_0_residual", "mid.block_1", LDM_RESIDUAL),
            *within("middle_attention", "mid.attn_1", LDM_ATTENTION),
            *within("middle_1_residual", "mid.block_2", LDM_RESIDUAL),
            *norm("norm_out", "norm_out"),
            *affine("conv_out", "conv_out"),
        )

    return (
        *within("encoder", "encoder", half("down")),
        *within("decoder", "decoder", half("up")),
        *QUANTIZERS,
        *skip("loss.*"),
    )


def table_of(keys: Iterable[str], levels: int) -> Table:
    """Returns the table that suits the keys of a file.

    Raises:
        ValueError: they are not an autoencoder's.
    """
    keys = set(keys)
    if "encoder.down.0.block.0.conv1.weight" in keys:
        return ldm_autoencoder()
    if "encoder.down_blocks.0.resnets.0.conv1.weight" not in keys:
        raise ValueError(
            "no key encoder.down_blocks.0.resnets.0.conv1.weight (diffusers) or"
            f" encoder.down.0.block.0.conv1.weight (LDM) among the {len(keys)}: not an autoencoder"
        )
    deprecated = "encoder.mid_block.attentions.0.proj_attn.weight" in keys
    return autoencoder(levels, DEPRECATED_ATTENTION if deprecated else ATTENTION)


Tensor = TypeVar("Tensor")


def part_of(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Returns the autoencoder's tensors in the file of a whole model, or all where it is alone."""
    for prefix in ("first_stage_model.", "vae."):
        if any(key.startswith(prefix) for key in tensors):
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return tensors
