"""Drifting: the field between two sets of points, the bank of examples, and runs that have one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment, objectives
from jaxdiff.diffusion import schedules
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives.drift import drift, drift_loss, pooled
from jaxdiff.objectives.memory import MemoryBank
from jaxdiff.training.step import make_step
from jaxdiff.typing import Draw, Prediction, Roles
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import points_config

TEMPERATURES = (0.05, 0.2)


def clouds(seed, *sizes):
    keys = jax.random.split(jax.random.key(seed), len(sizes))
    return [jax.random.normal(key, (2, n, 3)) for key, n in zip(keys, sizes, strict=True)]


def by_hand(x, data, others, weight, temperature):
    """One set's field, in loops, as the docstring of `drift` says it."""
    points, n = np.concatenate([x, others, data]), len(x)
    weights = np.array([1.0] * n + [weight] * len(others) + [1.0] * len(data))
    distance = np.linalg.norm(x[:, None] - points[None], axis=-1)
    mean = (distance * weights).mean() / weights.mean()
    logits = -distance / mean / temperature
    logits[np.arange(n), np.arange(n)] = -np.inf
    softmax = lambda a, axis: np.exp(a) / np.exp(a).sum(axis, keepdims=True)
    affinity = np.sqrt(softmax(logits, 1) * softmax(logits, 0)) * weights
    force = np.zeros_like(x)
    for i in range(n):
        to_data = affinity[i, -len(data) :].sum()
        to_others = affinity[i, : -len(data)].sum()
        for j in range(len(points)):
            is_data = j >= len(points) - len(data)
            pull = affinity[i, j] * (to_others if is_data else -to_data)
            force[i] += pull * (points[j] - x[i])
    unit = mean / x.shape[1] ** 0.5
    return force / unit


def test_the_field_is_that_of_the_equation():
    """Fails if a softmax is along the other axis, or a point has a part in its own field."""
    x, data, others = clouds(0, 4, 5, 3)
    weight = jnp.array([2.0, 2.0])
    _, field = drift(x, data, others, weight, (0.5,))
    sets = zip(*map(np.asarray, (x, data, others)), strict=True)
    expected = np.stack([by_hand(*each, 2.0, 0.5) for each in sets])
    expected /= np.sqrt(np.mean(expected**2))
    np.testing.assert_allclose(field, expected, rtol=2e-3, atol=2e-3)


def test_the_field_turns_with_the_points_and_is_unmoved_by_scale():
    x, data, others = clouds(1, 6, 6, 2)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    at = lambda *points: drift(*points, jnp.ones(2), TEMPERATURES)[1]
    moved = at(*(7.0 * a @ turn + 2.0 for a in (x, data, others)))
    np.testing.assert_allclose(moved, at(x, data, others) @ turn, atol=2e-3)


def test_equal_distributions_move_no_sample_and_others_are_led_to_the_data():
    """In the mean over many draws; fails for the other sign, or if the data repel as well."""
    one = jnp.zeros(300)
    draw = lambda seed, shift: shift + jax.random.normal(jax.random.key(seed), (300, 12, 2))
    none = jnp.zeros((300, 0, 2))

    @jax.jit
    def gradient(x, data):
        return jax.grad(lambda x: drift_loss(x, data, none, one, TEMPERATURES).sum())(x)

    still = gradient(draw(0, 0.0), draw(1, 0.0)).mean(axis=(0, 1))
    drawn = gradient(draw(0, jnp.array([1.5, 0.0])), draw(1, 0.0)).mean(axis=(0, 1))
    assert float(drawn[0]) > 0.05  # against the gradient: towards 0
    assert abs(float(drawn[1])) < 0.1 * float(drawn[0])
    assert float(jnp.abs(still).max()) < 0.05 * float(drawn[0])


def test_pooled_features_are_means_and_deviations():
    h = jnp.arange(2 * 4 * 4 * 3, dtype=float).reshape(2, 4, 4, 3)
    found = pooled({"a": h, "tokens": h[:, 0], "vector": h[:, 0, 0]})
    assert found["a"].shape == (2, 16, 3) and found["vector"].shape == (2, 1, 3)
    np.testing.assert_allclose(found["a_mean"][:, 0], h.mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found["a_mean_2"][:, 1], h[:, :2, 2:].mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found["a_std_2"][:, 2], h[:, 2:, :2].std((1, 2)), rtol=1e-5)
    assert "tokens_mean" in found and "tokens_mean_2" not in found and "vector_mean" not in found


def test_a_bank_keeps_the_last_examples_of_each_class():
    """Against lists; fails if a class overwrites another's, or the wrong end is forgotten."""
    bank, lists = MemoryBank((1,), num_classes=3, size=4), {0: [], 1: [], 2: []}
    random = np.random.default_rng(0)
    absorb = jax.jit(lambda held, seen: bank.bind(held).absorb(seen))
    held, number = bank.begin(), 0
    for _ in range(6):
        label = random.choice([0, 0, 0, 0, 1], size=7)
        x = np.arange(number, number + 7, dtype=np.float32)[:, None]
        number += 7
        held = absorb(held, {"x": jnp.asarray(x), "label": jnp.asarray(label)})
        for value, of in zip(x[:, 0], label, strict=True):
            lists[of] = (lists[of] + [value])[-4:]
    for of, values in lists.items():
        count = min(int(held["given"][of]), 4)
        assert sorted(held["examples"][of, :count, 0].tolist()) == sorted(values)
    keys = jax.random.split(jax.random.key(0), 3)
    drawn = bank.bind(held).draw(keys, jnp.array([0, 1, 2]), 6)
    for of in (0, 1):
        found = drawn[of, :, 0].tolist()
        assert set(found) == set(lists[of])
        assert len(set(found[: len(lists[of])])) == len(
            lists[of]
        )  # none twice before all are drawn
    assert not np.any(drawn[2])


def config(**fields):
    config = points_config()
    config.time_sampling, config.condition_dropout = "Uniform", 0.0
    config.objective = "Drifting(labels=4, generated=8, positives=8, negatives=4, bank=16)"
    config.sampling.update(solver="Consistency", guidance_scale=1.0, steps=1)
    with config.unlocked():
        config.update_from_flattened_dict(fields)
    return config


def experiment(**fields):
    return Experiment(config(**fields), Devices(make_mesh(jax.devices()[:1])))


GUIDED = {
    "objective": "Drifting(labels=4, generated=8, positives=8, negatives=4, bank=16, "
    "guidance_high=4.0, guidance_power=3.0, unguided=0.5)",
    "network.inputs": {"scalars": {"guidance_scale": 100.0}},
}


def test_a_run_with_a_bank_resumes_bit_for_bit(tmp_path):
    """2 + 2 = 4; fails if the bank is not in the checkpoint, or forgets by another step."""
    states, fields = [], {**GUIDED, "train.steps": 4, "train.checkpoint_every": 2}
    for name, parts in (("whole", [4]), ("parts", [2, 4])):
        for until in parts:
            state = experiment(**fields).train(tmp_path / name, until=until)
        states.append(jax.device_get(state))
    jax.tree.map(np.testing.assert_array_equal, *states)
    bank = states[0].statistics["objective.memory"]
    assert bank["examples"].shape == (2, 16, 2) and (bank["given"] >= 16).all()
    run = jaxdiff.load(tmp_path / "whole", devices=Devices(make_mesh(jax.devices()[:1])))
    assert np.isfinite(run.sample(3, {"label": 1}, guidance_scale=2.0)).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"condition_dropout": 0.1}, "Drifting: condition_dropout=0.1 must be 0; guidance is"),
        ({"parallel": "pmap"}, "parallel='pmap': Drifting has a memory of all examples"),
        ({"accumulate": 2}, "accumulate=2: the loss compares the examples of a batch"),
        ({"objective": "Drifting(labels=99)"}, "Drifting: labels=99 of batch_size=16"),
        (
            {"objective": "Drifting(generated=1)"},
            r"Drifting.generated is 1; expected an integer fr",
        ),
        ({"objective": "Drifting(guidance_high=2.0, negatives=0)"}, r"needs classes and negatives"),
        ({"objective": GUIDED["objective"]}, "Drifting: the network has no input 'guidance_scale'"),
        (
            {"objective": "Drifting(temperatures=())"},
            r"Drifting.temperatures is \(\); expected a li",
        ),
    ],
)
def test_what_does_not_fit_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        experiment(**fields)


def test_masked_autoencoding_completes_what_is_hidden():
    """Fails if a place counts that was not hidden, or patches are not whole."""
    process = Process(schedules.Cosine())
    masked = objectives.MaskedAutoencoding(process, share=0.5, patch=2)
    x0 = jax.random.normal(jax.random.key(0), (6, 4, 4, 2))
    draw = Draw(jax.random.split(jax.random.key(1), 6), jnp.zeros(6))
    seen = []

    def completing(x, t, cond):
        """Right where a place was hidden, wrong elsewhere."""
        seen.append(x)
        return Prediction(jnp.where(x == 0, x0, 9.0), x)

    loss = lambda student, x0: masked(Roles(student, student), x0, {}, draw, jnp.asarray(0))[0]
    np.testing.assert_array_equal(loss(completing, x0), 0)
    hidden = seen[0] == 0
    blocks = hidden.reshape(6, 2, 2, 2, 2, 2).all(axis=(2, 4, 5))
    np.testing.assert_array_equal(hidden.any(axis=-1), blocks.repeat(2, 1).repeat(2, 2))
    zero = lambda x, t, cond: Prediction(jnp.zeros_like(x), x)
    some = hidden.any(axis=(1, 2, 3))
    assert some.sum() >= 4
    np.testing.assert_allclose(loss(zero, jnp.ones_like(x0)), some, rtol=1e-6)
    masked = objectives.MaskedAutoencoding(process, patch=3)
    with pytest.raises(ValueError, match=r"data of \(4, 4, 2\) are not made of patches of 3"):
        loss(zero, x0)


def test_features_of_a_teacher_are_read_at_their_time(tmp_path):
    """Beside x itself; fails if layers are left out, or read at another time."""
    encoder = {"sampling.solver": "Heun", "time_sampling": "Uniform", "condition_dropout": 0.0}
    with_layers = "Drifting(labels=4, layers=('in', 'block_0_out'), encoder_time=0.3)"
    experiment(objective="Denoising", **encoder, **{"train.steps": 1}).train(tmp_path)
    student = experiment(objective=with_layers, **{"weights.teacher": str(tmp_path)})
    check(student)
    asked = []

    def stub(x, t, cond):
        asked.append(t)
        return {"in": jnp.ones((len(x), 5))}

    roles = Roles(stub, stub, encoder=stub)
    found = student.task.objective._features(roles, jnp.zeros((4, 3, 2)), {})
    assert {name: a.shape for name, a in found.items()} == {"x": (4, 3, 1, 2), "in": (4, 3, 1, 5)}
    np.testing.assert_allclose(asked[0], 0.3)
    missing = "Drifting(layers=('middle',))"
    with pytest.raises(ValueError, match="the network has no layer 'middle' with an output; it"):
        experiment(objective=missing, **{"weights.teacher": str(tmp_path)})


def check(experiment):
    """Traces a step."""
    state, batch = experiment.abstract_state(), experiment.task.example(16)
    step = make_step(experiment.recipe)
    _, metrics = jax.eval_shape(step, state, batch, experiment.recipe.numbers(0))
    assert metrics["loss"].shape == ()
