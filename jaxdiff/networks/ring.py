"""Attention whose tokens lie on several devices, with keys and values sent around in a ring."""

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from jaxdiff.networks.layout import EXAMPLES, Layout

SEQUENCE = "sequence"


def attend_in_ring(
    layout: Layout,
    query: Float[Array, "b n heads d"],
    key: Float[Array, "b n heads d"],
    value: Float[Array, "b n heads d"],
    scale: float | None = None,
) -> Float[Array, "b n heads d"]:
    """Returns softmax(scale·query·key)·value, in float32 (Liu et al., 2023).

    Each device keeps its queries, and sees the keys and values of all others one after another;
    the sums of the softmax are kept relative to the largest logit so far (Milakov & Gimelshein,
    2018). No device ever holds all keys. The gradient computes the weights again.
    """
    heads = "tensor" if query.shape[2] % layout.size("tensor") == 0 else None
    spec = PartitionSpec(EXAMPLES, SEQUENCE, heads, None)
    turns = layout.size(SEQUENCE)
    scale = query.shape[-1] ** -0.5 if scale is None else scale

    def attend(query: Array, key: Array, value: Array) -> Array:
        b, n, h, d = query.shape
        to_next = [(i, (i + 1) % turns) for i in range(turns)]

        @jax.checkpoint
        def turn(carry: tuple, _: None) -> tuple[tuple, None]:
            key, value, mixed, total, largest = carry
            logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
            logits = scale * logits
            new = jnp.maximum(largest, logits.max(-1))
            weights, faded = jnp.exp(logits - new[..., None]), jnp.exp(largest - new)
            total = faded * total + weights.sum(-1)
            mixed = rearrange(faded, "b h q -> b q h 1") * mixed
            mixed += jnp.einsum("bhqk,bkhd->bqhd", weights, value.astype(jnp.float32))
            key, value = (lax.ppermute(x, SEQUENCE, to_next) for x in (key, value))
            return (key, value, mixed, total, new), None

        start = jnp.zeros((b, n, h, d)), jnp.zeros((b, h, n)), jnp.full((b, h, n), -jnp.inf)
        (_, _, mixed, total, _), _ = lax.scan(turn, (key, value, *start), None, length=turns)
        return (mixed / rearrange(total, "b h q -> b q h 1")).astype(value.dtype)

    mapped = jax.shard_map(attend, mesh=layout.mesh, in_specs=spec, out_specs=spec, check_vma=False)
    return mapped(query, key, value)
