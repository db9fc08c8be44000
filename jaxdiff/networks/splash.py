"""Attention by JAX's fused kernel for TPUs, which keeps no logits in memory."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from jaxdiff.networks import layout

LANES = 128
"""The kernel's tiles are multiples of this, along tokens and along the channels of a head."""

BLOCKS = (512, 384, 256, 128)
"""Sizes of a block of tokens, the best first: larger ones read keys and values less often."""


def attend_by_splash(
    query: Float[Array, "b q heads d"],
    key: Float[Array, "b k heads d"],
    value: Float[Array, "b k heads d"],
    scale: float | None = None,
    *,
    interpret: bool = False,
) -> Float[Array, "b q heads d"]:
    """Returns softmax(scale·query·key)·value, in float32, block by block (Dao et al., 2022).

    Tokens and channels are filled up to the kernel's tiles. On a mesh each device attends for its
    own examples, heads and queries. The gradient computes the weights again; there is no forward
    mode, which flow maps with a tangent need. `interpret` runs the kernel's program on a CPU.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    attend = functools.partial(_attend, interpret)
    here, specs = layout.current(), layout.attention_specs(query)
    if here is not None and specs is not None:
        of_query, of_key = specs
        attend = jax.shard_map(
            attend,
            mesh=here.mesh,
            in_specs=(of_query, of_key, of_key),
            out_specs=of_query,
            check_vma=False,
        )
    return attend(scale * query, key, value)


def _attend(interpret: bool, query: Array, key: Array, value: Array) -> Array:
    # Loads Pallas, which only a TPU needs.
    from jax.experimental.pallas.ops.tpu import splash_attention as splash  # noqa: PLC0415

    tokens, keys, heads, channels = query.shape[1], key.shape[1], query.shape[2], query.shape[3]
    query, key, value = (_filled(x) for x in (query, key, value))
    padded = query.shape[2], key.shape[2]
    segments = None
    if padded != (tokens, keys):  # what fills up attends to itself alone
        segments = splash.SegmentIds(_beyond(tokens, padded[0]), _beyond(keys, padded[1]))
    of_query, of_key = (next(size for size in BLOCKS if n % size == 0) for n in padded)
    sizes: Any = splash.BlockSizes(
        block_q=of_query,
        block_kv=of_key,
        block_q_dkv=of_query,
        block_kv_dkv=of_key,
        block_q_dq=of_query,
        block_kv_dq=of_key,
    )
    kernel = splash.make_splash_mha_single_device(
        splash.MultiHeadMask([splash.FullMask(padded)] * heads),
        block_sizes=sizes,
        interpret=interpret,
    )
    mixed: Any = jax.vmap(lambda *inputs: kernel(*inputs, segment_ids=segments))(query, key, value)
    return rearrange(mixed[:, :, :tokens, :channels], "b h n d -> b n h d")


def _filled(x: Float[Array, "b n h d"]) -> Float[Array, "b h n2 d2"]:
    """Returns heads before tokens, with zeros up to the next tile along tokens and channels."""
    more = [-size % LANES for size in (x.shape[1], x.shape[3])]
    return jnp.pad(rearrange(x, "b n h d -> b h n d"), ((0, 0), (0, 0), (0, more[0]), (0, more[1])))


def _beyond(count: int, padded: int) -> Array:
    """Returns 0 for the first `count` tokens, and 1 for those that fill up."""
    return (jnp.arange(padded) >= count).astype(jnp.int32)
