"""Networks as their authors name them: U-Nets of CompVis, Stability AI and OpenAI, DiT, MMDiT."""

from collections.abc import Sequence

from jaxdiff.pretrained.layouts import KERNEL, POINTWISE_CONV, ROWS, patches, pointwise
from jaxdiff.pretrained.rules import (
    Table,
    affine,
    embedding,
    norm,
    ours_only,
    rule,
    skip,
    within,
)
from jaxdiff.pretrained.tables.unet import transformer

RESIDUAL = (
    *norm("norm_in", "in_layers.0"),
    *affine("conv_in", "in_layers.2"),
    *affine("embedding", "emb_layers.1"),
    *norm("norm_out", "out_layers.0"),
    *affine("conv_out", "out_layers.3"),
    *affine("shortcut", "skip_connection"),
)
"""A residual block (Dhariwal & Nichol, 2021)."""

_MLP = (*affine("hidden", "0"), *affine("out", "2"))
_PARTS = ("query", "key", "value")


def adm(levels: int, layers: int, attends: Sequence[bool], heads: Sequence[int]) -> Table:
    """Returns the table of a U-Net of guided diffusion, or of consistency models, by OpenAI.

    Args:
        levels: of the network, with `layers` residual blocks each on the way down.
        attends: whether the blocks of a level are followed by attention.
        heads: of a level, where the rows of queries, keys and values alternate by head; else 1.
    """

    def attention(level: int) -> Table:
        fused = affine(_PARTS, "qkv", pointwise(1), groups=heads[level])
        return (*norm("norm", "norm"), *fused, *affine("out", "proj_out", pointwise(1)))

    def layer(ours: str, theirs: str, level: int) -> Table:
        return (
            *within(f"{ours}_residual", f"{theirs}.0", RESIDUAL),
            *within(f"{ours}_attention", f"{theirs}.1", attention(level)),
        )

    down, up = [], []
    for level in range(levels):
        place = 1 + level * (layers + 1)
        for i in range(layers):
            down += layer(f"down_{level}_{i}", f"input_blocks.{place + i}", level)
        # A residual block that halves the size, or a convolution.
        theirs = f"input_blocks.{place + layers}.0"
        down += within(f"down_{level}_residual", theirs, RESIDUAL)
        down += affine(f"down_{level}/conv", f"{theirs}.op")
        place = (levels - 1 - level) * (layers + 1)
        for i in range(layers + 1):
            up += layer(f"up_{level}_{i}", f"output_blocks.{place + i}", level)
        theirs = f"output_blocks.{place + layers}.{2 if attends[level] else 1}"
        up += within(f"up_{level}_residual", theirs, RESIDUAL)
        up += affine(f"up_{level}/conv", f"{theirs}.conv")
    return (
        *within("time", "time_embed", _MLP),
        *embedding("cond/label", "label_emb"),
        *affine("conv_in", "input_blocks.0.0"),
        *down,
        *within("middle_0_residual", "middle_block.0", RESIDUAL),
        *within("middle_attention", "middle_block.1", attention(levels - 1)),
        *within("middle_1_residual", "middle_block.2", RESIDUAL),
        *up,
        *norm("norm_out", "out.0"),
        *affine("conv_out", "out.2"),
    )


def dit(patch: int = 2) -> Table:
    """Returns the table of DiT (Peebles & Xie, 2023), and of SiT (Ma et al., 2024)."""
    block = (
        *affine([f"self/{name}" for name in _PARTS], "attn.qkv"),
        *affine("self/out", "attn.proj"),
        *affine("mlp/hidden", "mlp.fc1"),
        *affine("mlp/out", "mlp.fc2"),
        *affine("modulation/vector", "adaLN_modulation.1"),
    )
    return (
        *affine("patches", "x_embedder.proj", patches((patch, patch))),
        *within("time", "t_embedder.mlp", _MLP),
        *rule(
            ("cond/label/embedding", "cond/label_null"), "y_embedder.embedding_table.weight", ROWS
        ),
        *within("blocks[{i}]", "blocks.{i}", block),
        *affine("modulation/vector", "final_layer.adaLN_modulation.1"),
        *affine("out", "final_layer.linear"),
        # A formula gives the same numbers.
        *skip("pos_embed"),
    )


def unet(depths: Sequence[int], layers: int, *, linear_projection: bool = True) -> Table:
    """Returns the table of the U-Net of Stable Diffusion 1 and 2 and of SDXL.

    `depths` are the numbers of transformer blocks of each level, `layers` the residual blocks of a
    level on the way down; `linear_projection` is as in `tables.unet`.
    """
    inside, levels = transformer(KERNEL if linear_projection else POINTWISE_CONV), len(depths)

    def layer(ours: str, theirs: str) -> Table:
        return (
            *within(f"{ours}_residual", f"{theirs}.0", RESIDUAL),
            *within(f"{ours}_transformer", f"{theirs}.1", inside),
        )

    down, up = [], []
    place = 1
    for level in range(levels):
        for i in range(layers):
            down += layer(f"down_{level}_{i}", f"input_blocks.{place + i}")
        place += layers
        if level < levels - 1:
            down += affine(f"down_{level}/conv", f"input_blocks.{place}.0.op")
            place += 1
    place = 0
    for level in reversed(range(levels)):
        for i in range(layers + 1):
            up += layer(f"up_{level}_{i}", f"output_blocks.{place + i}")
        place += layers + 1
        if level > 0:
            # Behind the residual block, and the transformer where there is one.
            behind = 2 if depths[level] else 1
            up += affine(f"up_{level}/conv", f"output_blocks.{place - 1}.{behind}.conv")
    return (
        *within("time", "time_embed", _MLP),
        *within("joint", "label_emb.0", _MLP),
        *ours_only("cond/*_null", "joint/*_null", "text/null", "map_*"),
        *affine("conv_in", "input_blocks.0.0"),
        *down,
        *within("middle_0_residual", "middle_block.0", RESIDUAL),
        *within("middle_transformer", "middle_block.1", inside),
        *within("middle_1_residual", "middle_block.2", RESIDUAL),
        *up,
        *norm("norm_out", "out.0"),
        *affine("conv_out", "out.2"),
    )


def mmdit(depth: int, patch: int = 2, dual_depth: int = 0) -> Table:
    """Returns the table of Stable Diffusion 3's and 3.5's transformer in Stability AI's files."""

    def attention(ours: str, theirs: str) -> Table:
        names = tuple(f"{ours}{name}" for name in _PARTS)
        return within(
            "",
            theirs,
            rule(tuple(f"{name}/kernel" for name in names), "qkv.weight", KERNEL),
            rule(tuple(f"{name}/bias" for name in names), "qkv.bias"),
            norm(f"{ours}query_norm", "ln_q"),
            norm(f"{ours}key_norm", "ln_k"),
            affine(f"{ours}out", "proj"),
        )

    def stream(ours: str, theirs: str) -> Table:
        return within(
            "",
            theirs,
            attention(ours, "attn"),
            affine(f"{ours}mlp/hidden", "mlp.fc1"),
            affine(f"{ours}mlp/out", "mlp.fc2"),
            affine(f"{ours}modulation/vector", "adaLN_modulation.1"),
        )

    block = (*stream("", "x_block"), *stream("text_", "context_block"))
    return (
        *affine("patches", "x_embedder.proj", patches((patch, patch))),
        *within("time", "t_embedder.mlp", _MLP),
        *within("joint", "y_embedder.mlp", _MLP),
        *affine("text_in", "context_embedder"),
        *within("dual_blocks[{i}]", "joint_blocks.{i}", block, attention("dual/", "x_block.attn2")),
        *within("blocks[{i}]", f"joint_blocks.{{i+{dual_depth}}}", block),
        *within("last_block", f"joint_blocks.{depth - 1}", block),
        *affine("modulation/vector", "final_layer.adaLN_modulation.1"),
        *affine("out", "final_layer.linear"),
        *ours_only("cond/*_null", "joint/*_null", "text/null", "map_*"),
        # A formula gives the same numbers.
        *skip("pos_embed"),
    )
