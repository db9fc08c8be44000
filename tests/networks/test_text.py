"""Settings of the encoders, and what needs no peer to be known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks import text
from jaxdiff.networks.attention import attend
from jaxdiff.networks.layers import LayerNorm, RMSNorm
from jaxdiff.networks.text import bert, clip, t5
from jaxdiff.networks.text.images import DEVIATION, MEAN, clip_pixels
from tests.support.seeded import drawn

IDS, MASK = jnp.zeros((1, 4), int), jnp.ones((1, 4), bool)


def parameters(network, *inputs):
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (bert.BERT(text.minilm_l6()), 22_565_376),
        (clip.CLIPText(text.clip_vit_l_14()), 123_060_480),
        pytest.param(clip.CLIPText(text.openclip_bigg_14()), 694_659_840, marks=pytest.mark.slow),
        (t5.T5Encoder(text.t5_v1_1_small()), 35_332_800),
        pytest.param(t5.T5Encoder(text.t5_v1_1_base()), 109_628_544, marks=pytest.mark.slow),
        pytest.param(t5.T5Encoder(text.t5_v1_1_xxl()), 4_762_310_656, marks=pytest.mark.slow),
    ],
)
def test_sizes_of_text_encoders(network, count):
    """Catches a wrong size: the counts follow from the published sizes."""
    assert parameters(network, IDS, MASK) == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "count"),
    [(text.clip_vision_l_14(), 303_966_208), (text.openclip_vision_h_14(), 632_076_800)],
)
def test_sizes_of_image_encoders(settings, count):
    """Catches a wrong size: the counts follow from the published sizes."""
    assert parameters(clip.CLIPVision(settings), jnp.zeros((1, 224, 224, 3))) == count


def test_distances():
    """Catches a direction exchanged, and steps that are not even in the logarithm.

    With 32 classes up to 128: one for each distance below 8, then a new one at 8·2^(k/2).
    """
    buckets = t5.distance_buckets(300, 32, 128)
    later = buckets[0] - 16
    starts = [int(np.argmax(later == k)) for k in range(1, 16)]
    assert starts == [*range(1, 8), *(int(np.ceil(8 * 2 ** (k / 2))) for k in range(8))]
    np.testing.assert_array_equal(buckets[1:, 0], later[1:])
    assert buckets[5, 5] == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bert.BERTSettings(width=30, heads=4), "num_heads=4 does not divide the 30"),
        (lambda: clip.CLIPTextSettings(width=30, heads=4), "num_heads=4 does not divide the 30"),
        (lambda: clip.CLIPVisionSettings(heads=7), "num_heads=7 does not divide the 1024"),
        (lambda: bert.BERTSettings(activation="swish"), "activation='swish' must be one of gelu"),
        (lambda: t5.T5Settings(activation="swish"), "activation='swish' must be one of gelu"),
        (
            lambda: bert.BERTSettings(pooling="max"),
            "pooling is 'max'; expected one of 'mean'",
        ),
        (lambda: clip.CLIPTextSettings(clip_skip=12), "clip_skip=12 must be .* below layers=12"),
        (
            lambda: clip.CLIPVisionSettings(clip_skip=-1),
            "clip_skip is -1; expected an integer",
        ),
        (lambda: clip.CLIPVisionSettings(patch=15), "patch=15 does not divide size=224"),
        (lambda: t5.T5Settings(buckets=30), "buckets=30 must be a multiple of 4"),
        (lambda: t5.T5Settings(max_distance=8), "less than four times max_distance=8"),
        (lambda: t5.from_config({"feed_forward_proj": "relu"}), "feed_forward_proj='relu'"),
        (
            lambda: bert.from_config({"position_embedding_type": "relative_key"}),
            "position_embedding_type='relative_key' must be 'absolute'",
        ),
    ],
)
def test_settings_that_cannot_be(make, said):
    """Catches a setting that is found to be wrong only when the network runs, or never."""
    with pytest.raises(ValueError, match=said):
        make()


def test_images_of_another_size():
    """Catches patches that are cut from an image of any size."""
    network = clip.CLIPVision(clip.CLIPVisionSettings(size=8, patch=4, width=4, heads=1, layers=1))
    with pytest.raises(ValueError, match="images are 8x12; this encoder takes 8x8"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8, 12, 3)))


def test_pixels():
    """Catches another range, and a crop that is not the middle.

    A grey of v stays (v - mean)/deviation; of 4×8 pixels the middle four columns are kept.
    """
    grey = np.full((1, 5, 9, 3), 0.5, np.float32)
    expected = np.broadcast_to((0.75 - MEAN) / DEVIATION, (1, 3, 3, 3))
    np.testing.assert_allclose(clip_pixels(grey, 3), expected, atol=1e-5)
    columns = np.broadcast_to(np.arange(8.0)[:, None] / 8, (1, 4, 8, 3)).astype(np.float32)
    back = clip_pixels(columns, 4) * DEVIATION + MEAN
    np.testing.assert_allclose(2 * back - 1, columns[:, :, 2:6], atol=1e-6)


def test_norms():
    """Catches a mean that is not taken off, or is by RMSNorm, a variance by n - 1, half precision.

    In bfloat16 only the result may be rounded.
    """
    x = jnp.array([[997.0, 1003, 997, 1003]])
    scale, bias = np.float32([1, 2, 3, 4]), np.float32([0, 0, 1, 0])
    layer = LayerNorm(eps=7.0).apply({"params": {"scale": scale, "bias": bias}}, x)
    np.testing.assert_allclose(layer, [[-0.75, 1.5, -1.25, 3]], rtol=1e-5)
    root = RMSNorm(eps=0.0).apply({"params": {"scale": scale}}, x / 1000 * 2)
    square = np.sqrt((np.square(x) / 1e6).mean())
    np.testing.assert_allclose(root, x / 1000 / square * scale, rtol=1e-5)
    x = jnp.asarray(np.random.default_rng(0).normal(100, 1, 64), jnp.float32)
    params = {"params": {"scale": jnp.ones(64), "bias": jnp.zeros(64)}}
    for norm in (LayerNorm, RMSNorm):
        whole, half = (norm(dtype=dtype).apply(params, x) for dtype in (jnp.float32, jnp.bfloat16))
        np.testing.assert_array_equal(half, whole.astype(jnp.bfloat16))


def test_attention_by_hand():
    """Catches a mask turned round, a bias that is not added before the softmax, another scale."""
    query = np.ones((1, 1, 1, 4), np.float32)
    key = np.array([0.0, 1.0, 2.0, 50.0], np.float32)[None, :, None, None] * query
    value = np.arange(4, dtype=np.float32)[None, :, None, None] * query
    mask = jnp.array([True, True, True, False])[None, None, None]
    bias = jnp.array([0.3, 0.0, -1.0, 0.0])[None, None, None]
    for scale, used in ((None, 0.5), (1.0, 1.0)):
        weights = np.exp(used * 4 * np.array([0.0, 1.0, 2.0]) + bias.ravel()[:3])
        expected = weights @ np.arange(3) / weights.sum()
        out = attend(*map(jnp.asarray, (query, key, value)), mask=mask, bias=bias, scale=scale)
        np.testing.assert_allclose(out, np.full((1, 1, 1, 4), expected), rtol=1e-5)


def test_padding_is_not_looked_at():
    """Catches a mask that only the outputs know of: other padding would change the text."""
    ids = jnp.array([[3, 4, 5, 0, 0], [3, 4, 5, 1, 2]])
    mask = jnp.broadcast_to(jnp.arange(5) < 3, (2, 5))
    small = {"width": 8, "heads": 2, "layers": 1, "mlp_width": 8}
    networks = (
        bert.BERT(bert.BERTSettings(9, 5, **small)),
        t5.T5Encoder(t5.T5Settings(9, 8, 1, 2, 4, 8)),
        clip.CLIPText(clip.CLIPTextSettings(9, 5, eos=5, **small)),
    )
    for network in networks:
        states = jax.jit(network.apply)({"params": drawn(network, ids, mask)}, ids, mask)
        a, b = states.tokens
        np.testing.assert_allclose(a[:3], b[:3], atol=1e-5)
        assert np.abs(a[3:] - b[3:]).max() > 1e-3
        if states.pooled is not None:
            np.testing.assert_allclose(*states.pooled, atol=1e-5)
