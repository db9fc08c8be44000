"""Wan's autoencoder of clips (Wan Team, 2025) as diffusers names it."""

from jaxdiff.interop.layouts import POINTWISE_CONV, over_ones
from jaxdiff.interop.rules import Table, affine, rule, within


def _norm(ours: str, theirs: str, axes: int = 3) -> Table:
    return rule(f"{ours}/scale", f"{theirs}.gamma", over_ones(axes))


QUERY_KEY_VALUE = ("query", "key", "value")
RESIDUAL = (
    *_norm("norm_in", "norm1"),
    *affine("conv_in", "conv1"),
    *_norm("norm_out", "norm2"),
    *affine("conv_out", "conv2"),
    *affine("shortcut", "conv_shortcut"),
)
ATTENTION = (
    *_norm("norm", "norm", axes=2),
    *affine(QUERY_KEY_VALUE, "to_qkv", POINTWISE_CONV),
    *affine("out", "proj", POINTWISE_CONV),
)
RESAMPLE = (*affine("conv", "resample.1"), *affine("time", "time_conv"))


def video_autoencoder(levels: int, layers_per_block: int) -> Table:
    """Returns the table of diffusers' AutoencoderKLWan of so many levels and blocks in each."""
    ends = (
        *affine("conv_in", "conv_in"),
        *_norm("norm_out", "norm_out"),
        *affine("conv_out", "conv_out"),
        *within("middle_{i}_residual", "mid_block.resnets.{i}", RESIDUAL),
        *within("middle_attention", "mid_block.attentions.0", ATTENTION),
    )
    # Their encoder is one list: the blocks of a level, then what leads to the next.
    down, up = (), ()
    for level in range(levels):
        begin = level * (layers_per_block + 1)
        for i in range(layers_per_block):
            here = f"down_{level}_{i}_residual"
            down += within(here, f"down_blocks.{begin + i}", RESIDUAL)
        down += within(f"down_{level}", f"down_blocks.{begin + layers_per_block}", RESAMPLE)
        there = f"up_blocks.{levels - 1 - level}"
        up += within(f"up_{level}_{{i}}_residual", f"{there}.resnets.{{i}}", RESIDUAL)
        up += within(f"up_{level}", f"{there}.upsamplers.0", RESAMPLE)
    return (
        *within("encoder", "encoder", ends, down),
        *within("decoder", "decoder", ends, up),
        *affine("quant", "quant_conv"),
        *affine("post_quant", "post_quant_conv"),
    )
