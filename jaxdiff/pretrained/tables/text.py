"""Encoders of text and images: BERT, CLIP (transformers' and OpenCLIP's names), T5."""

from jaxdiff.pretrained.layouts import KERNEL
from jaxdiff.pretrained.rules import Table, affine, embedding, norm, rule, skip, within

_BERT_LAYER = (
    *affine("attention/query", "attention.self.query"),
    *affine("attention/key", "attention.self.key"),
    *affine("attention/value", "attention.self.value"),
    *affine("attention/out", "attention.output.dense"),
    *norm("norm_attention", "attention.output.LayerNorm"),
    *affine("mlp/hidden", "intermediate.dense"),
    *affine("mlp/out", "output.dense"),
    *norm("norm_mlp", "output.LayerNorm"),
)
_CLIP_LAYER = (
    *affine("attention/query", "self_attn.q_proj"),
    *affine("attention/key", "self_attn.k_proj"),
    *affine("attention/value", "self_attn.v_proj"),
    *affine("attention/out", "self_attn.out_proj"),
    *norm("norm_attention", "layer_norm1"),
    *affine("mlp/hidden", "mlp.fc1"),
    *affine("mlp/out", "mlp.fc2"),
    *norm("norm_mlp", "layer_norm2"),
)
_QKV = tuple(f"attention/{name}" for name in ("query", "key", "value"))
_OPEN_CLIP_LAYER = (
    *rule(tuple(f"{name}/kernel" for name in _QKV), "attn.in_proj_weight", KERNEL),
    *rule(tuple(f"{name}/bias" for name in _QKV), "attn.in_proj_bias"),
    *affine("attention/out", "attn.out_proj"),
    *norm("norm_attention", "ln_1"),
    *affine("mlp/hidden", "mlp.c_fc"),
    *affine("mlp/out", "mlp.c_proj"),
    *norm("norm_mlp", "ln_2"),
)
_T5_LAYER = (
    *norm("norm_attention", "layer.0.layer_norm"),
    *affine("attention/query", "layer.0.SelfAttention.q"),
    *affine("attention/key", "layer.0.SelfAttention.k"),
    *affine("attention/value", "layer.0.SelfAttention.v"),
    *affine("attention/out", "layer.0.SelfAttention.o"),
    *norm("norm_mlp", "layer.1.layer_norm"),
    *affine("mlp/hidden", "layer.1.DenseReluDense.wi_0"),
    *affine("mlp/gate", "layer.1.DenseReluDense.wi_1"),
    *affine("mlp/out", "layer.1.DenseReluDense.wo"),
)


def bert(prefix: str = "") -> Table:
    """Returns the table of BERT; `prefix` is "bert" in files of models with heads."""
    return (
        *within(
            "",
            prefix,
            embedding("words", "embeddings.word_embeddings"),
            embedding("positions", "embeddings.position_embeddings"),
            embedding("types", "embeddings.token_type_embeddings"),
            norm("norm", "embeddings.LayerNorm"),
            within("layer_{i}", "encoder.layer.{i}", _BERT_LAYER),
            affine("pooler", "pooler.dense"),
        ),
        *skip("*pooler.dense.*", "*position_ids", "cls.*"),
    )


def clip_text(prefix: str = "text_model") -> Table:
    """Returns the table of CLIP's text encoder, alone or in a file of the whole of CLIP."""
    return (
        *within(
            "",
            prefix,
            embedding("words", "embeddings.token_embedding"),
            embedding("positions", "embeddings.position_embedding"),
            within("layer_{i}", "encoder.layers.{i}", _CLIP_LAYER),
            norm("norm", "final_layer_norm"),
        ),
        *affine("projection", "text_projection"),
        *skip("*position_ids", "vision_model.*", "visual_projection.*", "logit_scale"),
        *skip("text_projection.*"),
    )


def clip_vision(prefix: str = "vision_model") -> Table:
    """Returns the table of CLIP's image encoder, alone or in a file of the whole of CLIP."""
    return (
        *within(
            "",
            prefix,
            rule("class", "embeddings.class_embedding"),
            rule("patches", "embeddings.patch_embedding.weight", KERNEL),
            embedding("positions", "embeddings.position_embedding"),
            norm("norm_in", "pre_layrnorm"),
            within("layer_{i}", "encoder.layers.{i}", _CLIP_LAYER),
            norm("norm", "post_layernorm"),
        ),
        *affine("projection", "visual_projection"),
        *skip("*position_ids", "text_model.*", "text_projection.*", "logit_scale"),
        *skip("visual_projection.*"),
    )


def open_clip_text(prefix: str = "") -> Table:
    """Returns the table of the text encoder in OpenCLIP's own names, queries to values fused."""
    return (
        *within(
            "",
            prefix,
            embedding("words", "token_embedding"),
            rule("positions/embedding", "positional_embedding"),
            within("layer_{i}", "transformer.resblocks.{i}", _OPEN_CLIP_LAYER),
            norm("norm", "ln_final"),
            # A matrix that OpenCLIP multiplies from the right, as we do.
            rule("projection/kernel", "text_projection"),
        ),
        *skip("visual.*", "logit_scale", "logit_bias", "*attn_mask", "*text_projection"),
    )


def open_clip_vision(prefix: str = "visual") -> Table:
    """Returns the table of the image encoder in OpenCLIP's own names."""
    return (
        *within(
            "",
            prefix,
            rule("class", "class_embedding"),
            rule("patches", "conv1.weight", KERNEL),
            rule("positions/embedding", "positional_embedding"),
            norm("norm_in", "ln_pre"),
            within("layer_{i}", "transformer.resblocks.{i}", _OPEN_CLIP_LAYER),
            norm("norm", "ln_post"),
            rule("projection/kernel", "proj"),
        ),
        *skip("transformer.*", "token_embedding.*", "positional_embedding", "ln_final.*"),
        *skip("logit_scale", "logit_bias", "*attn_mask", "text_projection", "*visual.proj"),
    )


def t5(words: str = "shared", *, own_distances: bool = False) -> Table:
    """Returns the table of T5's encoder, alone or in a file of all of T5; or of UMT5's.

    The embedding of the words has two names, of which a file may have one or both.
    """
    ours, place = ("distances_{i}", "{i}") if own_distances else ("distances", "0")
    return (
        *embedding("words", words),
        *embedding(ours, f"encoder.block.{place}.layer.0.SelfAttention.relative_attention_bias"),
        *within("layer_{i}", "encoder.block.{i}", _T5_LAYER),
        *norm("norm", "encoder.final_layer_norm"),
        *skip("encoder.embed_tokens.weight", "decoder.*", "lm_head.*"),
    )
