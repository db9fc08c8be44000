"""IP-Adapters in the files of Ye et al. (2023): `image_proj.*` and `ip_adapter.*`."""

from collections.abc import Sequence

from jaxdiff.pretrained.rules import Table, affine, norm


def attentions(depths: Sequence[int], layers: int, middle: int) -> list[str]:
    """Returns the names of a U-Net's attentions to text in the order of the files' numbers.

    They are those of the way down, of the way up, and of the middle. `depths` are the transformer
    blocks of each level, `layers` the residual blocks of a level on the way down.
    """
    levels = range(len(depths))
    places = [(f"down_{n}_{i}", depths[n]) for n in levels for i in range(layers)]
    places += [(f"up_{n}_{i}", depths[n]) for n in reversed(levels) for i in range(layers + 1)]
    places.append(("middle", middle))
    return [f"{name}_transformer/block_{j}/text" for name, depth in places for j in range(depth)]


def ip_adapter(depths: Sequence[int], layers: int, middle: int) -> Table:
    """Returns the table of the keys and values of image prompts, and of the projection."""
    rules = []
    for i, place in enumerate(attentions(depths, layers, middle)):
        # Odd numbers: the even ones are those of self-attention, which has no such keys.
        number = 2 * i + 1
        rules += affine(f"network/{place}/image_key", f"ip_adapter.{number}.to_k_ip")
        rules += affine(f"network/{place}/image_value", f"ip_adapter.{number}.to_v_ip")
    return (
        *rules,
        *affine("projection/out", "image_proj.proj"),
        *norm("projection/norm", "image_proj.norm"),
    )
