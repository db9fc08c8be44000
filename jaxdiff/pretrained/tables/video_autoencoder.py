"""Wan's autoencoder of clips as diffusers and as the Wan Team (2025) name it."""

from collections.abc import Iterable

from jaxdiff.pretrained.layouts import POINTWISE_CONV, over_ones
from jaxdiff.pretrained.rules import Table, affine, rule, within


def _norm(ours: str, theirs: str, axes: int = 3) -> Table:
    return rule(f"{ours}/scale", f"{theirs}.gamma", over_ones(axes))


RESIDUAL = (
    *_norm("norm_in", "norm1"),
    *affine("conv_in", "conv1"),
    *_norm("norm_out", "norm2"),
    *affine("conv_out", "conv2"),
    *affine("shortcut", "conv_shortcut"),
)
WAN_RESIDUAL = (
    *_norm("norm_in", "residual.0"),
    *affine("conv_in", "residual.2"),
    *_norm("norm_out", "residual.3"),
    *affine("conv_out", "residual.6"),
    *affine("shortcut", "shortcut"),
)
ATTENTION = (
    *_norm("norm", "norm", axes=2),
    *affine(("query", "key", "value"), "to_qkv", POINTWISE_CONV),
    *affine("out", "proj", POINTWISE_CONV),
)
RESAMPLE = (*affine("conv", "resample.1"), *affine("time", "time_conv"))


def video_autoencoder(levels: int, layers_per_block: int) -> Table:
    """Returns the table of diffusers' AutoencoderKLWan, for these numbers of levels and blocks."""
    ends = (
        *affine("conv_in", "conv_in"),
        *_norm("norm_out", "norm_out"),
        *affine("conv_out", "conv_out"),
        *within("middle_{i}_residual", "mid_block.resnets.{i}", RESIDUAL),
        *within("middle_attention", "mid_block.attentions.0", ATTENTION),
    )
    down = _sequence("down", range(levels), layers_per_block, "down_blocks", RESIDUAL)
    up = ()
    for level in range(levels):
        there = f"up_blocks.{levels - 1 - level}"
        up += within(f"up_{level}_{{i}}_residual", f"{there}.resnets.{{i}}", RESIDUAL)
        up += within(f"up_{level}", f"{there}.upsamplers.0", RESAMPLE)
    return (
        *within("encoder", "encoder", ends, down),
        *within("decoder", "decoder", ends, up),
        *affine("quant", "quant_conv"),
        *affine("post_quant", "post_quant_conv"),
    )


def wan_autoencoder(levels: int, layers_per_block: int) -> Table:
    """Returns the table of Wan's own files."""
    ends = (
        *affine("conv_in", "conv1"),
        *_norm("norm_out", "head.0"),
        *affine("conv_out", "head.2"),
        *within("middle_0_residual", "middle.0", WAN_RESIDUAL),
        *within("middle_attention", "middle.1", ATTENTION),
        *within("middle_1_residual", "middle.2", WAN_RESIDUAL),
    )
    order, blocks = range(levels), layers_per_block
    down = _sequence("down", order, blocks, "downsamples", WAN_RESIDUAL)
    up = _sequence("up", reversed(order), blocks + 1, "upsamples", WAN_RESIDUAL)
    return (
        *within("encoder", "encoder", ends, down),
        *within("decoder", "decoder", ends, up),
        *affine("quant", "conv1"),
        *affine("post_quant", "conv2"),
    )


def table_of(keys: Iterable[str], levels: int, layers_per_block: int) -> Table:
    """Returns the table that suits the keys of a file.

    Raises:
        ValueError: they are not those of an autoencoder of clips.
    """
    keys = set(keys)
    if "encoder.conv1.weight" in keys:
        return wan_autoencoder(levels, layers_per_block)
    if "encoder.down_blocks.0.norm1.gamma" not in keys:
        raise ValueError(
            "no key encoder.down_blocks.0.norm1.gamma (diffusers) or encoder.conv1.weight (Wan)"
            f" among the {len(keys)}: not an autoencoder of clips"
        )
    return video_autoencoder(levels, layers_per_block)


def _sequence(way: str, order: Iterable[int], blocks: int, theirs: str, residual: Table) -> Table:
    """Returns the table of one list: a level's blocks, then the layer to the next level."""
    table = ()
    for place, level in enumerate(order):
        begin = place * (blocks + 1)
        for i in range(blocks):
            table += within(f"{way}_{level}_{i}_residual", f"{theirs}.{begin + i}", residual)
        table += within(f"{way}_{level}", f"{theirs}.{begin + blocks}", RESAMPLE)
    return table
