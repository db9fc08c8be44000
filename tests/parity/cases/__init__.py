"""Cases of parity: one of our networks and a peer's, with the same weights and the same inputs.

A module of this package is a family, and its `cases()` lists `Case`s. They serve three times:
`tests/parity` compares them with the live peers, `experiments/parity.py` writes docs/parity.md and
records what the peers said, and the quick tests compare with that record. Only `Case.peer` imports
PyTorch, and only when it is called.
"""

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdiff.pretrained import to_ours, to_theirs
from jaxdiff.pretrained.convert import copies
from jaxdiff.pretrained.rules import Table, compiled
from jaxdiff.typing import Params

FIXTURES = Path(__file__).parents[2] / "networks" / "fixtures"


class Ours(NamedTuple):
    """Our side: outputs by name, as a function of parameters like `target`."""

    apply: Callable[[Params], Mapping[str, Any]]
    target: Params
    table: Table


class Peer(NamedTuple):
    """Their side: a `torch.nn.Module`, and the same outputs in our layout."""

    module: Any
    run: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        family: what is compared; `name` says which variant.
        package: the peer's distribution, or several; their versions are written down.
        ours: makes our side, without PyTorch.
        peer: makes theirs; its weights are overwritten.
        gradients: whether the gradients of all weights are compared as well.
        recorded: whether the peer's outputs are kept as a fixture of the quick tests.
        weights: the checkpoint's tensors by key; None for numbers from a seeded generator.
    """

    family: str
    name: str
    package: str
    ours: Callable[[], Ours]
    peer: Callable[[], Peer]
    gradients: bool = False
    recorded: bool = False
    weights: Callable[[], Mapping[str, Any]] | None = None

    @property
    def title(self) -> str:
        """The family and the variant."""
        return f"{self.family}, {self.name}"

    @property
    def fixture(self) -> Path:
        """The file of the peer's outputs."""
        words = "".join(c if c.isalnum() else " " for c in self.title.lower()).split()
        return FIXTURES / f"{'_'.join(words)}.npz"

    @property
    def versions(self) -> str:
        """The peers' packages with their versions."""
        names = self.package.split()
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


class Comparison(NamedTuple):
    """The largest differences of one case."""

    parameters: int
    outputs: float
    size: float
    """The largest output."""
    gradients: float | None
    """In parts of the largest gradient."""


def all_cases() -> list[Case]:
    """Returns the cases of all families."""
    modules = [name for _, name, _ in pkgutil.iter_modules(__path__)]
    return [
        case
        for name in sorted(modules)
        for case in importlib.import_module(f"{__name__}.{name}").cases()
    ]


def draw(shapes: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Draws the peer's weights by key: of a size that keeps the signal's, norms near one."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for key in sorted(shapes):
        shape = shapes[key].shape
        noise = rng.standard_normal(shape).astype(np.float32)
        if len(shape) > 1:
            drawn[key] = noise / np.sqrt(np.prod(shape[1:]), dtype=np.float32)
        else:
            drawn[key] = key.endswith("weight") + noise / 4
    return drawn


def with_weights(case: Case) -> tuple[Ours, Params, dict[str, np.ndarray]]:
    """Returns our side of a case, its parameters, and the same as the peer has them."""
    ours = case.ours()
    if case.weights:
        params = to_ours(ours.table, case.weights(), ours.target)
        return ours, params, {k: np.asarray(v) for k, v in to_theirs(ours.table, params).items()}
    weights = draw(jax.eval_shape(lambda tree: to_theirs(ours.table, tree), ours.target))
    for keys in copies(ours.table, ours.target):
        weights |= dict.fromkeys(keys, weights[keys[0]])
    return ours, to_ours(ours.table, weights, ours.target), weights


def run_ours(case: Case) -> dict[str, np.ndarray]:
    """Returns our outputs."""
    ours, params, _ = with_weights(case)
    return {name: np.asarray(value) for name, value in jax.jit(ours.apply)(params).items()}


def run_peer(case: Case) -> dict[str, np.ndarray]:
    """Returns the peer's outputs."""
    ours, _, weights = with_weights(case)
    peer = _loaded(case, ours, weights)
    return {name: value.detach().numpy() for name, value in peer.run().items()}


def compare(case: Case) -> Comparison:
    """Runs both sides."""
    ours, params, weights = with_weights(case)
    peer = _loaded(case, ours, weights)
    mine = jax.jit(ours.apply)(params)
    theirs = peer.run()
    differences = [
        np.abs(np.asarray(mine[name]) - theirs[name].detach().numpy()).max() for name in theirs
    ]
    if mine.keys() != theirs.keys():
        raise ValueError(f"{case.title}: outputs {set(mine)} and {set(theirs)}")
    return Comparison(
        parameters=sum(value.size for value in weights.values()),
        outputs=float(max(differences)),
        size=float(max(value.detach().abs().max() for value in theirs.values())),
        gradients=_gradients(ours, params, peer, theirs) if case.gradients else None,
    )


def _loaded(case: Case, ours: Ours, weights: Mapping[str, np.ndarray]) -> Peer:
    import torch

    torch.set_num_threads(1)
    peer = case.peer()
    peer.module.eval()
    # Copied: the drawn numbers may be views of other arrays, and PyTorch writes into its own.
    state = {key: torch.tensor(np.array(value)) for key, value in weights.items()}
    missing, unexpected = peer.module.load_state_dict(state, strict=False)
    ignored = [pattern for rule in ours.table if not rule.ours for pattern in rule.theirs]
    missing = [key for key in missing if not any(compiled(p).fullmatch(key) for p in ignored)]
    if missing or unexpected:
        raise ValueError(f"{case.title}: peer lacks {unexpected[:5]}, we lack {missing[:5]}")
    return peer


def _gradients(ours: Ours, params: Params, peer: Peer, theirs: Mapping[str, Any]) -> float:
    """Compares the gradients of a random linear function of all outputs."""
    import torch

    rng = np.random.default_rng(1)
    weights = {k: rng.standard_normal(v.shape).astype(np.float32) for k, v in theirs.items()}
    loss = lambda p: sum((v * weights[k]).sum() for k, v in ours.apply(p).items())
    mine = to_theirs(ours.table, jax.jit(jax.grad(loss))(params))
    sum((v * torch.tensor(weights[k])).sum() for k, v in theirs.items()).backward()
    named = dict(peer.module.named_parameters())
    of_copies = {keys[0]: keys for keys in copies(ours.table, ours.target)}
    done = {key for keys in of_copies.values() for key in keys[1:]}
    differences, largest = [], 0.0
    for key, value in mine.items():
        if key in done:
            continue
        gradients = [named[k].grad for k in of_copies.get(key, (key,))]
        expected = sum(g.numpy() for g in gradients if g is not None) + np.zeros(value.shape)
        differences.append(np.abs(np.asarray(value) - expected).max())
        largest = max(largest, np.abs(expected).max())
    return float(max(differences) / largest)
