"""The U-Net of images without text (Ho et al. 2020 and its kin) in diffusers' `UNet2DModel`."""

from jaxdiff.interop.rules import Table, affine, embedding, norm, ours_only, within

RESIDUAL = (
    *norm("norm_in", "norm1"),
    *affine("conv_in", "conv1"),
    *affine("embedding", "time_emb_proj"),
    *norm("norm_out", "norm2"),
    *affine("conv_out", "conv2"),
    *affine("shortcut", "conv_shortcut"),
)
ATTENTION = (
    *norm("norm", "group_norm"),
    *affine("query", "to_q"),
    *affine("key", "to_k"),
    *affine("value", "to_v"),
    *affine("out", "to_out.0"),
)


def unet2d(levels: int) -> Table:
    """Returns the table of a U-Net of so many sizes, with or without classes."""

    def level(ours: str, direction: str, theirs: int) -> Table:
        block = f"{direction}_blocks.{theirs}"
        resampler = f"{block}.{direction}samplers.0"
        return (
            *within(f"{ours}_{{i}}_residual", f"{block}.resnets.{{i}}", RESIDUAL),
            *within(f"{ours}_{{i}}_attention", f"{block}.attentions.{{i}}", ATTENTION),
            *within(f"{ours}_residual", resampler, RESIDUAL),
            *affine(f"{ours}/conv", f"{resampler}.conv"),
        )

    return (
        *affine("time/hidden", "time_embedding.linear_1"),
        *affine("time/out", "time_embedding.linear_2"),
        *embedding("cond/label", "class_embedding"),
        *ours_only("cond/label_null"),
        *affine("conv_in", "conv_in"),
        *(entry for i in range(levels) for entry in level(f"down_{i}", "down", i)),
        *within("middle_{i}_residual", "mid_block.resnets.{i}", RESIDUAL),
        *within("middle_attention", "mid_block.attentions.0", ATTENTION),
        *(entry for i in range(levels) for entry in level(f"up_{i}", "up", levels - 1 - i)),
        *norm("norm_out", "conv_norm_out"),
        *affine("conv_out", "conv_out"),
    )
