"""Diffusion transformers as diffusers names them: DiT, PixArt, Stable Diffusion 3, Wan."""

from collections.abc import Sequence

from jaxdiff.pretrained.layouts import ONE_IN_FRONT, ROWS, SWAPPED, SWAPPED_KERNEL, patches
from jaxdiff.pretrained.rules import Table, affine, norm, ours_only, rule, skip, tied, within

_TIME = (*affine("hidden", "linear_1"), *affine("out", "linear_2"))
_NULLS = ours_only("cond/*_null", "joint/*_null", "text/null", "map_*", "registers")


def _attention(ours: str, theirs: str) -> Table:
    names = {"query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0"}
    maps = tuple(entry for mine, key in names.items() for entry in affine(mine, key))
    norms = (*norm("query_norm", "norm_q"), *norm("key_norm", "norm_k"))
    return within(ours, theirs, (*maps, *norms))


def _perceptron(ours: str, theirs: str, prefix: str = "") -> Table:
    parts = affine(f"{prefix}hidden", "net.0.proj"), affine(f"{prefix}out", "net.2")
    return within(ours, theirs, *parts)


def dit(depth: int, patch: int = 2) -> Table:
    """Returns the table of DiTTransformer2DModel, which repeats the embeddings in each block."""
    embeddings = (
        *within("time", "timestep_embedder", _TIME),
        *rule(
            ("cond/label/embedding", "cond/label_null"),
            "class_embedder.embedding_table.weight",
            ROWS,
        ),
    )
    block = (
        *affine("modulation/vector", "norm1.linear"),
        *_attention("self", "attn1"),
        *_perceptron("mlp", "ff"),
    )
    return (
        *affine("patches", "pos_embed.proj", patches((patch, patch))),
        *tied(embeddings, [f"transformer_blocks.{i}.norm1.emb" for i in range(depth)]),
        *within("blocks[{i}]", "transformer_blocks.{i}", block),
        *affine("modulation/vector", "proj_out_1"),
        *affine("out", "proj_out_2"),
        *_NULLS,
    )


def pixart(patch: int = 2) -> Table:
    """Returns the table of PixArtTransformer2DModel."""
    block = (
        *rule("modulation/table", "scale_shift_table"),
        *_attention("self", "attn1"),
        *_attention("text", "attn2"),
        *_perceptron("mlp", "ff"),
    )
    return (
        *affine("patches", "pos_embed.proj", patches((patch, patch))),
        *within("time", "adaln_single.emb.timestep_embedder", _TIME),
        *(
            entry
            for name in ("resolution", "aspect_ratio")
            for part, linear in (("hidden", "linear_1"), ("out", "linear_2"))
            for entry in affine(
                f"sliced/{name}_{part}", f"adaln_single.emb.{name}_embedder.{linear}"
            )
        ),
        *affine("shared_modulation", "adaln_single.linear"),
        *affine("text_hidden", "caption_projection.linear_1"),
        *affine("text_out", "caption_projection.linear_2"),
        *within("blocks[{i}]", "transformer_blocks.{i}", block),
        *rule("modulation/table", "scale_shift_table"),
        *affine("out", "proj_out"),
        *_NULLS,
    )


def wan(patch: Sequence[int] = (1, 2, 2)) -> Table:
    """Returns the table of WanTransformer3DModel, from text, and from an image."""
    block = (
        *rule("modulation/table", "scale_shift_table", ONE_IN_FRONT),
        *_attention("self", "attn1"),
        *norm("norm_text", "norm2"),
        *_attention("text", "attn2"),
        *affine("text/image_key", "attn2.add_k_proj"),
        *affine("text/image_value", "attn2.add_v_proj"),
        *norm("text/image_key_norm", "attn2.norm_added_k"),
        *_perceptron("mlp", "ffn"),
    )
    return (
        *affine("patches", "patch_embedding", patches(tuple(patch))),
        *within("time", "condition_embedder.time_embedder", _TIME),
        *affine("shared_modulation", "condition_embedder.time_proj"),
        *affine("text_hidden", "condition_embedder.text_embedder.linear_1"),
        *affine("text_out", "condition_embedder.text_embedder.linear_2"),
        *norm("image_norm_in", "condition_embedder.image_embedder.norm1"),
        *_perceptron("", "condition_embedder.image_embedder.ff", prefix="image_"),
        *norm("image_norm_out", "condition_embedder.image_embedder.norm2"),
        *within("blocks[{i}]", "blocks.{i}", block),
        *rule("modulation/table", "scale_shift_table", ONE_IN_FRONT),
        *affine("out", "proj_out"),
        *_NULLS,
    )


def sd3(depth: int, patch: int = 2, dual_depth: int = 0) -> Table:
    """Returns the table of SD3Transformer2DModel: Stable Diffusion 3 and 3.5.

    Its table of positions is skipped: a formula gives the same numbers.
    """
    swapped = {"layout": SWAPPED_KERNEL, "bias": SWAPPED}
    joint = (
        *affine("text_query", "attn.add_q_proj"),
        *affine("text_key", "attn.add_k_proj"),
        *affine("text_value", "attn.add_v_proj"),
        *norm("text_query_norm", "attn.norm_added_q"),
        *norm("text_key_norm", "attn.norm_added_k"),
        *affine("modulation/vector", "norm1.linear"),
        *_attention("", "attn"),
        *_perceptron("mlp", "ff"),
    )
    both = (
        *joint,
        *affine("text_modulation/vector", "norm1_context.linear"),
        *affine("text_out", "attn.to_add_out"),
        *_perceptron("text_mlp", "ff_context"),
    )
    last = (*joint, *affine("text_modulation/vector", "norm1_context.linear", **swapped))
    return (
        *affine("patches", "pos_embed.proj", patches((patch, patch))),
        *within("time", "time_text_embed.timestep_embedder", _TIME),
        *within("joint", "time_text_embed.text_embedder", _TIME),
        *affine("text_in", "context_embedder"),
        *within("dual_blocks[{i}]", "transformer_blocks.{i}", both, _attention("dual", "attn2")),
        *within("blocks[{i}]", f"transformer_blocks.{{i+{dual_depth}}}", both),
        *within("last_block", f"transformer_blocks.{depth - 1}", last),
        *affine("modulation/vector", "norm_out.linear", **swapped),
        *affine("out", "proj_out"),
        *_NULLS,
        *skip("pos_embed.pos_embed"),
    )
