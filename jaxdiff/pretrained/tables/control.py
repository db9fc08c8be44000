"""ControlNets in two layouts, diffusers' and that of Zhang et al. (2023), and T2I-Adapters."""

from collections.abc import Sequence

from jaxdiff.pretrained.rules import Table, affine
from jaxdiff.pretrained.tables import original
from jaxdiff.pretrained.tables.unet import unet2d


def controlnet(levels: int, *, linear_projection: bool = True) -> Table:
    """Returns the table of `ControlNetModel`, of a U-Net of `levels` levels."""
    hint = "controlnet_cond_embedding"
    return (
        *unet2d(levels, linear_projection=linear_projection),
        *affine("hint/conv_in", f"{hint}.conv_in"),
        *affine("hint/conv_{i}", f"{hint}.blocks.{{i}}"),
        *affine("hint/conv_out", f"{hint}.conv_out"),
        *affine("zero_{i}", "controlnet_down_blocks.{i}"),
        *affine("zero_middle", "controlnet_mid_block"),
    )


def original_controlnet(
    depths: Sequence[int], layers: int, hints: int, *, linear_projection: bool = True
) -> Table:
    """Returns the table of the authors' layout, below `control_model.`.

    `depths` and `layers` are as in `original.unet`; `hints` is the number of widths of the
    convolutions that read the map.
    """
    inner = 2 * (hints - 1)
    read = [("conv_in", 0), *((f"conv_{i}", 2 * i + 2) for i in range(inner))]
    read += [("conv_out", 2 * inner + 2)]
    return (
        *original.unet(depths, layers, linear_projection=linear_projection),
        *(rule for n, i in read for rule in affine(f"hint/{n}", f"input_hint_block.{i}")),
        *affine("zero_{i}", "zero_convs.{i}.0"),
        *affine("zero_middle", "middle_block_out.0"),
    )


def t2i_adapter() -> Table:
    """Returns the table of diffusers' `T2IAdapter`."""
    body = "adapter.body.{i}"
    return (
        *affine("conv_in", "adapter.conv_in"),
        *affine("level_{i}_in", f"{body}.in_conv"),
        *affine("level_{i}_{j}/conv_in", f"{body}.resnets.{{j}}.block1"),
        *affine("level_{i}_{j}/conv_out", f"{body}.resnets.{{j}}.block2"),
    )
