"""Encoders and frozen parts by their settings alone: what they are joined to, what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import Experiment
from jaxdiff.conditioning import encoders
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.conditioning.encoders import SD3, SDXL, Numbers
from jaxdiff.conditioning.prompts import sd3, sdxl
from jaxdiff.config.build import build
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.frozen_parts import SIZES, latent_text_config

pytest.importorskip("tokenizers")


def one():
    """One device, which compiles the fastest."""
    return Devices(make_mesh(jax.devices()[:1]))


CLIP = "CLIPTextSettings(vocabulary=9, positions=5, width={}, layers=1, heads=1, mlp_width=4{})"
T5 = "T5Settings(vocabulary=9, width=12, layers=1, heads=1, head_channels=4, mlp_width=4)"
SMALL, LARGE, T5 = (
    build(encoders, {"name": "TextEncoder", "settings": settings, **window})
    for settings, window in (
        (CLIP.format(4, ""), {}),
        (CLIP.format(6, ", projection=3"), {}),
        (T5, {"window": 7}),
    )
)


@pytest.mark.parametrize(
    ("encoder", "join", "parts", "shapes"),
    [
        (SDXL(SMALL, LARGE), sdxl, (SMALL, LARGE), [(2, 5, 10), (2, 5), (2, 3)]),
        (SD3(SMALL, LARGE, T5), sd3, (SMALL, LARGE, T5), [(2, 12, 12), (2, 12), (2, 7)]),
    ],
)
def test_several_encoders_read_the_same_prompts(encoder, join, parts, shapes):
    """Fails if one is given another's tokens or weights, or they are joined in another order."""
    conditions = Conditions(("text",), {"text": encoder})
    cond = conditions.example({"text": encoder.shapes()}, 2)
    assert [value.shape for value in jax.tree.leaves(cond)] == shapes
    draw = np.random.default_rng(0)
    number = lambda a: jnp.asarray(
        draw.integers(9, size=a.shape) if a.dtype == jnp.int32 else draw.normal(size=a.shape),
        a.dtype,
    )
    params, tokens = jax.tree.map(number, (encoder.shapes(), encoder.inputs(2)))
    tokens = jax.tree.map(lambda a: a | True if a.dtype == bool else a, tokens)
    names = encoder.each()
    assert tuple(names.values()) == parts

    def both(params, tokens):
        each = [part.states(params["network"][n], tokens[n]) for n, part in names.items()]
        return encoder.encode(params, tokens), join(*each).condition()

    jax.tree.map(np.testing.assert_array_equal, *jax.jit(both)(params, tokens))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"name": "Tiled", "autoencoder": SIZES, "tile": 4, "overlap": 1}, (4, 4, 2)),
        ({**SIZES, "num_codes": 5}, (4, 4, 2)),
    ],
)
def test_autoencoders_by_their_sizes(options, shape):
    """Traced only; fails if tiles hide whose weights are read, or a codebook is forgotten."""
    config = latent_text_config()
    config.codec = {"name": "Latents", "autoencoder": options}
    experiment = Experiment(config, one())
    assert experiment.task.latent_shape == shape
    assert ("codebook" in experiment.abstract_state().frozen["codec"]) == ("num_codes" in options)


def test_numbers():
    """Fails if a default is not one row, or rows of another width pass."""
    numbers = Numbers((4.0, 2.0))
    assert numbers.empty(None).value.tolist() == [[4, 2]]
    conditions = Conditions(("size",), {"size": numbers})
    assert conditions.check(2, {"size": (1, 2)})["size"].tolist() == [[1, 2], [1, 2]]
    with pytest.raises(ValueError, match=r"cond\['size'\]: numbers of shape \(1, 3\)"):
        conditions.check(1, {"size": [(1, 2, 3)]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec.autoencoder": {**SIZES, "chanels": 1}}, "no option 'chanels'; did you mean"),
        ({"codec.name": "Latent"}, "unknown codec 'Latent'; did you mean 'Latents'"),
        ({"encoders.text.settings": "minilm"}, "unknown text 'minilm'; did you mean 'minilm_l6'"),
        ({"encoders.text.settings": "minilm_l6"}, r"shape \(1, 512, 384\); expected \[b, n, 8\]"),
        ({"encoders.text.window": 7}, "window=7: the network has 6 positions"),
        ({"encoders.text.too_long": "chunk"}, "too_long is 'chunk'"),
        ({"conditions": ()}, r"encoders has \['text'\], but conditions=\(\)"),
        (
            {"conditions": ("text", "label")},
            r"conditions has \['label'\], but the network does not",
        ),
        ({"data.shape": (9, 9, 1)}, "9x9"),
    ],
)
def test_parts_that_do_not_fit_are_named_before_weights_are_read(changes, message):
    config = latent_text_config()
    with config.unlocked():
        for name, value in changes.items():
            *path, last = name.split(".")
            section = config
            for part in path:
                section = section[part]
            section[last] = value
    with pytest.raises(ValueError, match=message):
        Experiment(config, one())
