"""A taste learned from the votes of a known one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from jaxdiff.config.build import build
from jaxdiff.data.images import png
from jaxdiff.evaluation.features import Classifier
from jaxdiff.networks.classifier import ConvClassifier
from jaxdiff.objectives import rewards
from jaxdiff.runs.tastes import learn, read_votes
from jaxdiff.runs.voting import VOTES, Pair, choices, record


def pictures(num, seed):
    """Flat pictures of all brightnesses, with noise."""
    draw = np.random.default_rng(seed)
    flat = draw.uniform(-0.8, 0.8, (num, 1, 1, 1))
    return np.clip(flat + 0.2 * draw.normal(size=(num, 8, 8, 1)), -1, 1).astype(np.float32)


def bright(x):
    return np.asarray(rewards.Brightness()(jnp.asarray(x), {}))


def voted(num, seed):
    """Chosen and rejected pictures of a voter who likes bright ones and errs at times."""
    first, second = pictures(num, seed), pictures(num, seed + 1)
    both = np.stack([bright(x) for x in (first, second)], axis=1)
    wins = choices(both, temperature=0.05, seed=seed)[:, None, None, None]
    return np.where(wins, first, second), np.where(wins, second, first)


def base():
    """A random network: features that know nothing of votes."""
    network = ConvClassifier(classes=10, channels=(16,), features=64)
    params = network.init(jax.random.key(0), jnp.asarray(pictures(1, 0)))
    return Classifier(network, params, (8, 8, 1), accuracy=0.0)


OTHERS = pictures(100, 99)
TRUTH = bright(OTHERS)


@pytest.mark.parametrize("whole", [False, True])
def test_the_taste_of_votes_is_recovered_and_flips_with_them(whole, tmp_path):
    """Fails if a vote is counted for the wrong picture, or the file holds another network."""
    (chosen, rejected), held_out = voted(200, 0), voted(50, 7)
    features = None if whole else base()
    options = {"features": features, "steps": 60 if whole else 150, "batch_size": 32}
    taste = learn(chosen, rejected, held_out, **options)
    assert taste.accuracy > 0.7
    assert spearmanr(taste.logits(OTHERS)[:, 0], TRUTH).statistic > 0.85
    flipped = learn(rejected, chosen, held_out[::-1], **options)
    assert spearmanr(flipped.logits(OTHERS)[:, 0], TRUTH).statistic < -0.85

    file = tmp_path / "taste.npz"
    taste.save(file)
    reward = build(rewards, f"Learned(file='{file}')", rewards.KIND)
    np.testing.assert_allclose(
        jax.jit(reward)(jnp.asarray(OTHERS), {}), taste.logits(OTHERS)[:, 0], atol=1e-5
    )
    if features is not None:
        same = jax.tree.map(lambda a, b: a.shape == b.shape and np.array_equal(a, b),
                            taste.params, features.params)  # fmt: skip
        assert sorted(jax.tree.leaves(same)).count(False) == 2  # the last map alone
    with pytest.raises(ValueError, match=r"is of pictures \(8, 8, 1\), not \(4, 4, 1\)"):
        reward(jnp.asarray(OTHERS[:, :4, :4]), {})


def test_votes_come_from_their_file(tmp_path):
    """Fails if chosen and rejected pictures are exchanged, or a file is no taste."""
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        value = np.full((8, 8, 1), 60 * i, np.uint8)
        (tmp_path / f"pictures/{i}.png").write_bytes(png(value).getvalue())
    for i in (0, 2):
        record(tmp_path, Pair(f"pictures/{i}.png", f"pictures/{i + 1}.png", {}), first=False)
    chosen, rejected = read_votes(tmp_path / VOTES, "all", channels=1)
    assert (chosen > rejected).all()
    with pytest.raises(ValueError, match=r"is not a file; see experiments/taste\.py"):
        rewards.Learned("nowhere.npz")
    base().save(tmp_path / "base.npz")
    with pytest.raises(ValueError, match="is a classifier, not a taste"):
        rewards.Learned(str(tmp_path / "base.npz"))
