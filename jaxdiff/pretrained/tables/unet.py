"""U-Nets in diffusers' layout: `UNet2DModel`, and with text `UNet2DConditionModel`."""

from jaxdiff.pretrained.layouts import KERNEL, POINTWISE_CONV, Layout
from jaxdiff.pretrained.rules import Table, affine, embedding, norm, ours_only, rule, within

RESIDUAL = (
    *norm("norm_in", "norm1"),
    *affine("conv_in", "conv1"),
    *affine("embedding", "time_emb_proj"),
    *norm("norm_out", "norm2"),
    *affine("conv_out", "conv2"),
    *affine("shortcut", "conv_shortcut"),
)
HEADS = (
    *affine("query", "to_q"),
    *affine("key", "to_k"),
    *affine("value", "to_v"),
    *affine("out", "to_out.0"),
)
ATTENTION = (*norm("norm", "group_norm"), *HEADS)


def transformer(projection: Layout) -> Table:
    """Returns the table of `SpatialTransformer`, with the layout of its outer maps."""
    block = (
        *norm("norm_self", "norm1"),
        *within("self", "attn1", HEADS),
        *norm("norm_text", "norm2"),
        *within("text", "attn2", HEADS),
        *affine("text/image_key", "attn2.processor.to_k_ip.0"),
        *affine("text/image_value", "attn2.processor.to_v_ip.0"),
        *norm("norm_mlp", "norm3"),
        *affine("mlp/in", "ff.net.0.proj"),
        *affine("mlp/out", "ff.net.2"),
    )
    return (
        *norm("norm", "norm"),
        *affine("in", "proj_in", projection),
        *within("block_{j}", "transformer_blocks.{j}", block),
        *affine("out", "proj_out", projection),
    )


def unet2d(levels: int, *, linear_projection: bool = True) -> Table:
    """Returns the table of a U-Net with `levels` levels: DDPM, ADM, Stable Diffusion, SDXL.

    `linear_projection` is `use_linear_projection` in config.json: False for Stable Diffusion 1,
    whose transformers have 1×1 convolutions in place of the outer linear maps.
    """
    inside = transformer(KERNEL if linear_projection else POINTWISE_CONV)

    def level(ours: str, direction: str, theirs: int) -> Table:
        block = f"{direction}_blocks.{theirs}"
        resampler = f"{block}.{direction}samplers.0"
        return (
            *within(f"{ours}_{{i}}_residual", f"{block}.resnets.{{i}}", RESIDUAL),
            *within(f"{ours}_{{i}}_attention", f"{block}.attentions.{{i}}", ATTENTION),
            *within(f"{ours}_{{i}}_transformer", f"{block}.attentions.{{i}}", inside),
            *within(f"{ours}_residual", resampler, RESIDUAL),
            *affine(f"{ours}/conv", f"{resampler}.conv"),
        )

    return (
        *affine("time/hidden", "time_embedding.linear_1"),
        *rule("guidance/map/kernel", "time_embedding.cond_proj.weight", KERNEL),
        *affine("time/out", "time_embedding.linear_2"),
        *embedding("cond/label", "class_embedding"),
        *affine("joint/hidden", "add_embedding.linear_1"),
        *affine("joint/out", "add_embedding.linear_2"),
        *ours_only("cond/*_null", "joint/*_null", "text/null", "map_*"),
        *affine("conv_in", "conv_in"),
        *(entry for i in range(levels) for entry in level(f"down_{i}", "down", i)),
        *within("middle_{i}_residual", "mid_block.resnets.{i}", RESIDUAL),
        *within("middle_attention", "mid_block.attentions.0", ATTENTION),
        *within("middle_transformer", "mid_block.attentions.0", inside),
        *(entry for i in range(levels) for entry in level(f"up_{i}", "up", levels - 1 - i)),
        *norm("norm_out", "conv_norm_out"),
        *affine("conv_out", "conv_out"),
    )
