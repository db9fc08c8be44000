"""The table of weights: for each name its shapes, its source, and its fate in training.

"network", "codec", "text", "teacher", "discriminator", "lora": a task lists them, and creating,
loading, training, averaging and checkpointing go by this table alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
from jaxtyping import Array, Key

from jaxdiff.files import AnyPath, read_json, write_json
from jaxdiff.random import stream
from jaxdiff.trees import overlaid, same_structure
from jaxdiff.typing import Params
from jaxdiff.weights.adapters import Adapter
from jaxdiff.weights.sources import Like, Source

FINGERPRINTS = "weights.json"


def _none(key: Key[Array, ""]) -> Params:
    raise ValueError("these weights have no random values: name their source")


@dataclass(frozen=True)
class Weights:
    """One named tree of weights.

    Attributes:
        init: returns random values from a key; an error where values must come from a source.
        shapes: returns the shapes, where there is no `init`, or it is slow to trace.
        source: a `Source` or `Like`, where the values come from; None for `init`.
        trained: whether training changes them. If not, they are in no checkpoint.
        averaged: whether trained weights have a moving average, from which samples are drawn.
        config_field: the config's field that names the source, for errors.
        unnamed: returns the config's fields of sources within that have no path.
    """

    init: Callable[[Key[Array, ""]], Params] = _none
    shapes: Callable[[], Params] | None = None
    source: Any = None
    trained: bool = True
    averaged: bool = True
    config_field: str = ""
    unnamed: Callable[[], Sequence[str]] = tuple

    def abstract(self) -> Params:
        """Returns the shapes; computes and reads nothing."""
        if self.shapes is not None:
            return self.shapes()
        return jax.eval_shape(self.init, jax.random.key(0))


@dataclass(frozen=True)
class Table:
    """The weights of a task by name, and the adapters between them.

    A base with an adapter is frozen; the adapter's factors are an entry of its name.

    Raises:
        ValueError: an adapter or a copy names weights that are not in the table, or an adapter has
            the name of others.
    """

    entries: Mapping[str, Weights]
    adapters: Mapping[str, Adapter] = field(default_factory=dict)

    def __post_init__(self):
        entries = dict(self.entries)
        for name, adapter in self.adapters.items():
            _require(entries, adapter.of, f"adapters.{name}.of")
            if name in self.entries:
                raise ValueError(f"adapters.{name}: there are weights of this name; give another")
            entries[adapter.of] = replace(entries[adapter.of], trained=False)
            base = entries[adapter.of].abstract
            entries[name] = Weights(
                init=lambda key, name=name, adapter=adapter, base=base: adapter.init(
                    stream(key, name), base()
                )
            )
        for name, entry in entries.items():
            if isinstance(entry.source, Like):
                _require(entries, entry.source.name, f"weights.{name}")
        object.__setattr__(self, "entries", entries)

    def shapes(self) -> dict[str, Params]:
        """Returns the shapes of all weights."""
        return {name: entry.abstract() for name, entry in self.entries.items()}

    def split(self, weights: Mapping[str, Params]) -> tuple[dict[str, Params], dict[str, Params]]:
        """Returns the trained and the frozen of some weights."""
        trained = {n: tree for n, tree in weights.items() if self.entries[n].trained}
        return trained, {n: tree for n, tree in weights.items() if n not in trained}

    def averaged(self, params: Mapping[str, Params]) -> dict[str, Params]:
        """Returns those of the trained weights that have a moving average."""
        return {name: tree for name, tree in params.items() if self.entries[name].averaged}

    def adapt(self, weights: Mapping[str, Params]) -> dict[str, Params]:
        """Returns the weights with each adapter applied, in the order of the config.

        Training and sampling begin with this, and read everything from it.
        """
        adapted = dict(weights)
        for name, adapter in self.adapters.items():
            adapted[adapter.of] = adapter.apply(adapted[adapter.of], adapted[name])
        return adapted

    def create(
        self, key: Key[Array, ""], loaded: Mapping[str, Params], *, frozen: bool = False
    ) -> dict[str, Params]:
        """Returns the first values of the trained weights, or of the frozen ones that are random.

        `loaded` has the values of entries with a source; under jit.
        """
        made = dict(loaded)
        for name, entry in self.entries.items():
            if entry.trained == frozen:
                continue
            if entry.source is None:
                made[name] = entry.init(key)
            elif name in loaded and not same_structure(entry.abstract(), loaded[name]):
                made[name] = overlaid(entry.init(key), loaded[name])
        for name, entry in self.entries.items():
            if isinstance(entry.source, Like) and entry.trained != frozen:
                of = entry.source.name
                values = made[of] if of in made else self.entries[of].init(key)
                if (take := entry.source.take) is not None:
                    values = take(entry.init(key), values)
                made[name] = jax.tree.map(lambda a: a.copy(), values)
        return {name: made[name] for name, entry in self.entries.items() if entry.trained != frozen}

    def require(self, *, frozen: bool = True) -> None:
        """Raises ValueError if the config does not name a source that is needed; says which field.

        Sources of frozen weights are needed at every launch, those of trained ones at the first.
        """
        unnamed = [place for _, entry in self._read(frozen) for place in entry.unnamed()]
        if unnamed:
            raise ValueError(
                f"{', '.join(unnamed)}: no weights are named; give a folder, a file or a name on"
                f" the hub, as by --config.{unnamed[0]}=path/to/it"
            )

    def load(self, targets: Mapping[str, Params], *, frozen: bool = True) -> dict[str, Params]:
        """Reads the weights that have a source, each array onto its devices.

        Raises:
            ValueError: a source is not named, missing, damaged or of another network; says which
                field of the config.
        """
        self.require(frozen=frozen)
        return {
            name: _named(entry, entry.source.load, targets[name])
            for name, entry in self._read(frozen)
        }

    def fingerprints(self, folder: AnyPath | None = None) -> dict[str, str]:
        """Returns hashes of the frozen weights, compared with those in a run's folder, if given.

        Raises:
            ValueError: the run began with other weights; says which.
        """
        prints = {name: _named(e, e.source.fingerprint) for name, e in self._read(frozen=True)}
        known = read_fingerprints(folder) if folder else {}
        changed = [n for n in known if n in prints and known[n] != prints[n]]
        if changed:
            fields = ", ".join(self.entries[name].config_field for name in changed)
            raise ValueError(
                f"{fields}: the run in {folder} began with other weights, or another tokenizer"
            )
        return prints

    def _read(self, frozen: bool) -> Iterator[tuple[str, Weights]]:
        for name, entry in self.entries.items():
            if entry.trained != frozen and isinstance(entry.source, Source):
                yield name, entry


def read_fingerprints(folder: AnyPath) -> dict[str, str]:
    """Returns the hashes in a run's folder; none where it has none."""
    file = folder / FINGERPRINTS
    return read_json(file, dict) if file.exists() else {}


def record(prints: Mapping[str, str], folder: AnyPath) -> None:
    """Writes weights.json, where there are frozen weights from files."""
    if prints:
        write_json(folder / FINGERPRINTS, prints)


def _require(entries: Mapping[str, Any], name: str, field_name: str) -> None:
    if name not in entries:
        raise ValueError(f"{field_name}={name!r}; the weights are {', '.join(entries)}")


def _named(entry: Weights, call: Callable, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except ValueError as error:
        raise ValueError(f"{entry.config_field}: {error}") from error
