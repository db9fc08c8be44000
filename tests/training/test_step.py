"""The step, the objective, the optimizer and the average, each against a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import config as defaults
from jaxdiff import random
from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.diffusion import oracles, parameterizations, schedules, time_sampling, weighting
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives import Denoising
from jaxdiff.tasks.diffusion import Diffusion
from jaxdiff.training import ema, state
from jaxdiff.training.optimizer import make_optimizer, mismatches
from jaxdiff.training.step import Recipe, make_step
from jaxdiff.typing import Condition, Draw, Roles

PROCESS = Process(schedules.Cosine())
BATCH = 8


def objective(**changes):
    parts = {
        "process": PROCESS,
        "parameterization": parameterizations.noise,
        "time_sampling": time_sampling.Stratified(),
        "weighting": weighting.Simple(),
    }
    return Denoising(**{**parts, **changes})


def recipe(**changes):
    optimizer, rates = make_optimizer(
        {"name": "sgd", "learning_rate": 0.1, "schedule": "constant", "clip_norm": 0.0}
    )
    config = defaults.default()
    config.data = {"name": "two_moons", "shape": (2,), "num_classes": 0}
    config.network = {"name": "MLP"}
    config.time_sampling = "Stratified"
    parts = {
        "task": Diffusion(config),
        "optimizer": optimizer,
        "rates": rates,
        "ema_decay": ema.Constant(0.75),
        "batch_size": BATCH,
    }
    return Recipe(**{**parts, **changes})


@pytest.fixture(scope="module")
def params():
    made = recipe().table.create(jax.random.key(0), {})
    # The output layer starts at zero, and would hide the gradients of all others.
    leaves, tree = jax.tree.flatten(made)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [0.1 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    )


def batch(scale=1.0):
    x = scale * jax.random.normal(jax.random.key(2), (BATCH, 2))
    return {"x": x, "position": jnp.arange(BATCH, dtype=jnp.int32)}


def draw_of(n):
    keys = random.example_keys(jax.random.key(3), jnp.arange(n))
    return Draw(keys, (0.1 + jnp.arange(n) / n) % 1)


def test_the_loss_of_the_exact_denoiser_is_the_irreducible_one():
    """For N(0, s²) it is alpha²s²/(alpha²s² + sigma²) in noise; fails if x_t is made wrongly."""
    std, n = 0.5, 20_000
    x0 = std * jax.random.normal(jax.random.key(4), (n, 2))
    oracle = oracles.Gaussian(PROCESS, jnp.zeros(2), std)
    loss, metrics = objective()(Roles(oracle, oracle), x0, {}, draw_of(n), jnp.zeros((), int))
    snr = jnp.exp(metrics["logsnr"])
    expected = snr * std**2 / (snr * std**2 + 1)
    np.testing.assert_allclose(loss.mean(), expected.mean(), rtol=0.03)


def test_the_noise_is_independent_of_the_time():
    """Fails if one key draws both: the first normal of a key is a function of its uniform."""
    seen = {}

    def spy(x, t, cond):
        seen["t"], seen["noise"] = t, x[:, 0] / PROCESS.schedule.sigma(t)
        return oracles.Gaussian(PROCESS, jnp.zeros(1), 1.0)(x, t, cond)

    times = time_sampling.Uniform()
    objective(time_sampling=times)(
        Roles(spy, spy), jnp.zeros((4096, 1)), {}, draw_of(4096), jnp.zeros((), int)
    )
    assert abs(np.corrcoef(seen["t"], seen["noise"])[0, 1]) < 0.05
    assert abs(np.corrcoef(seen["t"], np.abs(seen["noise"]))[0, 1]) < 0.05


def test_accumulated_micro_batches_make_the_same_step(params):
    """Fails if micro-batches are summed, or see other noise than they would in one batch."""
    whole, parts = (
        jax.jit(make_step(r))(state.create(params, r.optimizer), batch(), r.numbers(0))
        for r in (recipe(), recipe(accumulate=4))
    )
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_average_follows_its_formula(params):
    """0.75·old + 0.25·new, in float32 even if the parameters are not."""
    r = recipe()
    before = state.create(params, r.optimizer)
    after, _ = jax.jit(make_step(r))(before, batch(), r.numbers(0))
    for old, new, average in zip(
        *(jax.tree.leaves(tree) for tree in (before.params, after.params, after.ema)), strict=True
    ):
        np.testing.assert_allclose(average, 0.75 * old + 0.25 * new, atol=1e-6)
    halves = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    assert all(
        a.dtype == jnp.float32 for a in jax.tree.leaves(state.create(halves, r.optimizer).ema)
    )


def test_a_step_that_is_not_finite_changes_nothing(params):
    """Fails if the update is applied before it is judged."""
    r = recipe()
    before = state.create(params, r.optimizer)
    bad = batch() | {"x": batch()["x"].at[3, 0].set(jnp.nan)}
    after, metrics = jax.jit(make_step(r))(before, bad, r.numbers(0))
    assert not metrics["good"]
    assert not metrics["finite_gradients"].all()
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a, b)


def test_losses_by_level_add_up_to_the_loss(params):
    r = recipe()
    _, metrics = jax.jit(make_step(r))(state.create(params, r.optimizer), batch(), r.numbers(0))
    np.testing.assert_allclose(metrics["level_loss"].sum(), metrics["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["level_share"].sum(), 1.0, rtol=1e-6)


def test_decay_rates():
    """Closed forms: fails if the half-life counts steps instead of images."""
    at = lambda decay, step: float(decay(jnp.asarray(step), 100))
    assert at(ema.Constant(0.9), 7) == pytest.approx(0.9)
    assert at(ema.Warmup(0.999), 0) == pytest.approx(0.1)
    assert at(ema.Warmup(0.999), 10**6) == pytest.approx(0.999)
    late = at(ema.HalfLife(images=1000.0, rampup=0.05), 10**5)
    assert late**10 == pytest.approx(0.5, rel=1e-4)
    assert at(ema.HalfLife(images=1000.0, rampup=0.05), 0) == 0


def test_conditions_are_dropped_at_their_rate_and_independently():
    """Fails if two conditions share their draw, or if `keep` is inverted."""
    keys = random.example_keys(jax.random.key(0), jnp.arange(20_000))
    zeros = jnp.zeros(20_000)
    given = {
        "label": Condition(zeros),
        "text": Condition(zeros[:, None], mask=zeros[:, None]),
    }
    conditions = Conditions(("label", "text"), num_classes=10, dropout=0.1)
    dropped = conditions.drop(given, keys)
    label, text = dropped["label"].keep, dropped["text"].keep
    assert abs(label.mean() - 0.9) < 0.01
    assert abs((label & text).mean() - 0.81) < 0.01


@pytest.mark.parametrize(
    ("schedule", "steps", "expected"),
    [
        ("constant(warmup_steps=4)", [0, 3, 4, 100], [0.25, 1.0, 1.0, 1.0]),
        ("cosine(steps=8, warmup_steps=4)", [1, 4, 6, 8], [0.5, 1.0, 0.5, 0.0]),
        ("inverse_sqrt(flat_steps=4)", [0, 4, 16], [1.0, 1.0, 0.5]),
    ],
)
def test_learning_rates(schedule, steps, expected):
    """Fails if the warm-up begins at zero or decay counts from the wrong step."""
    _, rates = make_optimizer(
        {"name": "adam", "learning_rate": 2.0, "schedule": schedule, "clip_norm": 1.0}
    )
    np.testing.assert_allclose([rates[""](n) for n in steps], 2 * np.array(expected), atol=1e-6)


def test_a_schedule_is_as_long_as_the_run_unless_it_says_otherwise():
    """Fails if a run that is made longer trains at a rate of 0 without a word."""
    base = {"name": "adam", "learning_rate": 1.0, "clip_norm": 0.0}
    ends = {"cosine": 20, "cosine(warmup_steps=4)": 20, "cosine(steps=8)": 8}
    for schedule, end in ends.items():
        config = {**base, "schedule": schedule}
        _, rates = make_optimizer(config, {"other": {"learning_rate": 2.0}}, 20)
        assert rates[""](end) == pytest.approx(0, abs=1e-6)
        assert rates["other"](end - 1) > 1e-4
        lines = mismatches(config, {"other": {"schedule": "constant(warmup_steps=30)"}}, 20)
        assert lines[-1].startswith("optimizers.other.schedule: the warm-up of 30 steps lasts")
        assert len(lines) == 1 + (end == 8)
    assert lines[0] == (
        "optimizer.schedule ends at step 8, train.steps=20: the last 12 steps have a rate of 0.0"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b1": 1.5}, r"optimizer\.b1 is 1\.5; expected a number of at least 0 and below 1"),
        ({"eps": "a"}, r"optimizer\.eps is 'a'; expected a number"),
        ({"name": "chain"}, "unknown optimizer 'chain'"),
        ({"schedule": "cosine(end=2.0)"}, r"end=2\.0 is above the learning rate 0\.1"),
        ({"schedule": "cosine(warmup_steps=-1)"}, r"cosine\.warmup_steps is -1"),
    ],
)
def test_options_of_optimizers_have_ranges(changes, message):
    base = {"name": "adam", "learning_rate": 0.1, "schedule": "constant", "clip_norm": 0.0}
    with pytest.raises(ValueError, match=message):
        make_optimizer({**base, **changes}, steps=10)


def test_weight_decay_spares_vectors():
    """Fails if biases and scales decay."""
    optimizer, _ = make_optimizer(
        {"name": "adamw", "learning_rate": 0.1, "schedule": "constant", "clip_norm": 0.0}
        | {"weight_decay": 0.5}
    )
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zeros, begun = jax.tree.map(jnp.zeros_like, params), optimizer.init(params)
    updates, _ = optimizer.update(zeros, begun, params, rates={"": 0.1})
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(updates["bias"], 0)


def test_unknown_optimizers_and_options_are_named():
    base = {"learning_rate": 0.1, "schedule": "constant", "clip_norm": 0.0}
    with pytest.raises(ValueError, match="unknown optimizer 'adamm'; did you mean 'adam'"):
        make_optimizer({"name": "adamm", **base})
    with pytest.raises(ValueError, match="adam has no option 'beta'"):
        make_optimizer({"name": "adam", "beta": 1, **base})


def test_a_rate_that_is_not_finite_changes_nothing(params):
    """Fails if only gradients are looked at: the parameters would be NaN, and the run go on."""
    r = recipe(rates={"": lambda step: jnp.nan})
    before = state.create(params, r.optimizer)
    after, metrics = jax.jit(make_step(r))(before, batch(), r.numbers(0))
    assert not metrics["good"]
    assert metrics["finite_gradients"].all()
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_rate_or_seed_is_the_same_program(params):
    """Fails if a rate, a schedule's number or the seed is a constant of the step."""
    programs = []
    for seed, rate, schedule in [(0, 0.1, "constant"), (7, 0.3, "cosine(warmup_steps=3)")]:
        config = {"name": "sgd", "learning_rate": rate, "schedule": schedule, "clip_norm": 0.0}
        optimizer, rates = make_optimizer(config, steps=20)
        r = recipe(optimizer=optimizer, rates=rates, seed=seed)
        begun = state.create(params, r.optimizer)
        programs.append(jax.jit(make_step(r)).lower(begun, batch(), r.numbers(0)).as_text())
    assert programs[0] == programs[1]


def test_numbers_follow_the_schedule_beyond_one_table():
    """Fails if the second table of rates begins at the first's steps."""
    r = recipe(rates={"": lambda step: 1.0 * step})
    found = [float(r.numbers(step).rates[""]) for step in (0, 5, 1023, 1024, 5000)]
    assert found == [0, 5, 1023, 1024, 5000]
