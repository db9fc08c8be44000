"""One part of each kind from outside the package, in one file and by one name each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment, random
from jaxdiff.tasks.diffusion import Diffusion
from jaxdiff.training.task import Losses
from jaxdiff.typing import Prediction
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import points_config

HERE = "tests.test_outside"


@dataclass(frozen=True)
class Quadratic:
    """A schedule."""

    def alpha(self, t):
        return 1 - t**2

    def sigma(self, t):
        return t


@dataclass(frozen=True)
class Mine:
    """A solver."""

    process: Any
    stochastic = False

    def init(self, x):
        return ()

    def step(self, denoiser, x, span, cond, history):
        return self.process.perturb(denoiser(x, span.t, cond), span.s), history


@dataclass(frozen=True)
class AbsoluteError:
    """An objective."""

    process: Any

    def __call__(self, roles, x0, cond, draw, step):
        t = random.uniform(random.stream(draw.keys, "time"))
        truth = Prediction(x0, random.normal(random.stream(draw.keys, "noise"), x0))
        found = roles.student(self.process.perturb(truth, t), t, cond)
        return jnp.abs(found.noise - truth.noise).mean(-1), {"logsnr": self.process.logsnr(t)}


@dataclass(frozen=True)
class LowRank:
    """An adapter: kernels plus the product of two thin matrices."""

    of: str = "network"
    rank: int = 2

    def init(self, key, base):
        def factors(path, leaf):
            if leaf.ndim != 2:
                return {}
            down = jax.random.normal(random.stream(key, str(path)), (leaf.shape[0], self.rank))
            return {"down": down, "up": jnp.zeros((self.rank, leaf.shape[1]))}

        return jax.tree_util.tree_map_with_path(factors, base)

    def apply(self, base, factors):
        add = lambda leaf, f: leaf + f["down"] @ f["up"] if f else leaf
        return jax.tree.map(add, base, factors, is_leaf=lambda x: hasattr(x, "shape"))


@dataclass(frozen=True)
class Saved:
    """A source of weights: an array file of one's own."""

    path: str

    def load(self, target):
        stored = np.load(self.path)
        place = lambda path, like: jax.device_put(
            stored[jax.tree_util.keystr(path)], getattr(like, "sharding", None)
        )
        return jax.tree_util.tree_map_with_path(place, target)

    def fingerprint(self):
        return str(Path(self.path).stat().st_size)


class Mean(Diffusion):
    """A task: diffusion with another loss beside."""

    def losses(self, *arguments):
        found = super().losses(*arguments)
        return Losses(
            found.by_player,
            {**found.metrics, "twice": 2 * found.by_player["model"]},
            found.observed,
        )


def one():
    return Devices(make_mesh(jax.devices()[:1]))


def tiny(**fields: Any) -> Any:
    config = points_config()
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    with config.unlocked():
        config.update_from_flattened_dict(fields)
    return config


def train(folder, **fields):
    experiment = Experiment(tiny(**fields), one())
    return experiment, jax.device_get(experiment.train(folder))


def same(a: Mapping, b: Mapping) -> bool:
    return all(np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_schedule_solver_objective_and_task_by_name(tmp_path):
    """Fails if a part must be registered, or a plain dataclass cannot be an argument."""
    parts = {"process": "Quadratic", "sampling.solver": "Mine", "objective": "AbsoluteError"}
    parts = {field: f"{HERE}:{name}" for field, name in parts.items()}
    train(tmp_path, **parts, **{"task.name": f"{HERE}:Mean"})
    assert '"twice"' in (tmp_path / "metrics.jsonl").read_text()
    assert jaxdiff.load(tmp_path, devices=one(), trust=("tests",)).sample(
        3, {"label": 1}
    ).shape == (3, 2)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A trained run, its weights in a file as well."""
    folder = tmp_path_factory.mktemp("base")
    experiment, state = train(folder / "run")
    leaves = jax.tree_util.tree_leaves_with_path(state.ema["network"])
    arrays = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    np.savez(folder / "weights.npz", **arrays)
    return folder, experiment, state


def test_training_begins_from_another_run_s_average_or_from_a_source_of_one_s_own(base, tmp_path):
    """Fails if weights are random, of the wrong item, or read again at a resume."""
    folder, _, state = base
    sources = {
        "run": str(folder / "run"),
        "call": f"OfRun(path='{folder}/run', item='params')",
        "own": f"{HERE}:Saved(path='{folder}/weights.npz')",
    }
    for name, source in sources.items():
        experiment = Experiment(tiny(**{"weights.network": source}), one())
        begun = jax.device_get(experiment.init())
        wanted = state.params if name == "call" else state.ema
        assert same(begun.params["network"], wanted["network"])
        assert same(begun.ema["network"], wanted["network"])
    with pytest.raises(ValueError, match=r"weights\.network: .*nowhere"):
        Experiment(tiny(**{"weights.network": "nowhere"}), one()).init()
    other = tiny(**{"weights.network": str(folder / "run"), "network.features": 8})
    with pytest.raises(ValueError, match=r"weights\.network: .*shape"):
        Experiment(other, one()).init()


def test_a_network_that_gains_an_input_begins_as_the_run_that_lacks_it(base):
    """Fails if the new parameters are an error or not zero at the end, or others are random."""
    folder, _, state = base
    fields = {
        "weights.network": str(folder / "run"),
        "network.inputs": {"scalars": {"until": 1000.0}},
    }
    begun = jax.device_get(Experiment(tiny(**fields), one()).init()).params["network"]
    gained = {name: begun["cond"].pop(name) for name in ("until_hidden", "until_out")}
    assert same(begun, state.ema["network"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gained["until_out"]))
    assert np.any(gained["until_hidden"]["kernel"])


def test_an_adapter_freezes_its_base_and_alone_is_trained(base, tmp_path):
    """Fails if the base moves, is in the checkpoint, or the factors are not applied in samples."""
    folder, _, state = base
    fields = {
        "weights.network": str(folder / "run"),
        "adapters": {"lora": f"{HERE}:LowRank(rank=1)"},
    }
    experiment, after = train(tmp_path, **fields)
    assert set(after.params) == set(after.ema) == {"lora"}
    assert same(after.frozen["network"], state.ema["network"])
    begun = jax.device_get(experiment.init())
    adapted = experiment.table.adapt(begun.average)
    assert same(adapted["network"], state.ema["network"])  # zero factors change nothing
    assert not same(after.params["lora"], begun.params["lora"])
    run = jaxdiff.load(tmp_path, devices=one(), trust=("tests",))
    assert not same(jax.device_get(run.weights["network"]), state.ema["network"])
    with pytest.raises(ValueError, match=r"adapters\.lora\.of='netwrk'; the weights are network"):
        Experiment(tiny(adapters={"lora": f"{HERE}:LowRank(of='netwrk')"}), one())


@dataclass(frozen=True)
class Distilled:
    """An objective that asks a teacher."""

    process: Any

    def __call__(self, roles, x0, cond, draw, step):
        t = random.uniform(random.stream(draw.keys, "time"))
        x = self.process.perturb(Prediction(x0, random.normal(draw.keys, x0)), t)
        wanted, found = (role(x, t, cond).x0 for role in (roles.teacher, roles.student))
        return ((wanted - found) ** 2).mean(-1), {"logsnr": self.process.logsnr(t)}


def test_a_teacher_and_a_weak_model_are_named_by_their_runs(base, tmp_path):
    """Fails if a teacher is trained, in checkpoints, random, or a weak model is not asked."""
    folder, _, state = base
    fields = {"weights.teacher": str(folder / "run"), "weights.network": str(folder / "run")}
    _, after = train(tmp_path, objective=f"{HERE}:Distilled", **fields)
    assert same(after.frozen["teacher"]["network"], state.ema["network"])
    assert set(after.params) == {"network"}
    first = json.loads((tmp_path / "metrics.jsonl").read_text().split("\n")[1])
    assert first["loss"] < 1e-10  # the student begins as its teacher
    with pytest.raises(ValueError, match=r"weights\.teacher: .*holds no run"):
        Experiment(tiny(**{"weights.teacher": str(tmp_path / "none")}), one())
    run = jaxdiff.load(folder / "run", devices=one())
    guided = {"guidance": f"AutoGuidance(weak='{folder}/run')", "guidance_scale": 3.0}
    plain = run.sample(3, {"label": 1}, guidance_scale=1.0)
    np.testing.assert_allclose(run.sample(3, {"label": 1}, **guided), plain, atol=1e-5)
