"""Parts with given parameters: autoencoders, encoders of conditions; not trained, in no checkpoint.

The config says where their weights are, and weights.json in a run's folder which they were, so that
a run finds them again where they have been moved to, and refuses others.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxdiff.files import write_json
from jaxdiff.typing import Codec, Encoder, Frozen, Params

Parts = Mapping[str, Frozen]
"""By their names in `state.frozen`."""


def parts(codec: Codec, encoders: Mapping[str, Encoder]) -> dict[str, Frozen]:
    """Returns those of an experiment's parts that have weights.

    Raises:
        ValueError: an encoder has the codec's name.
    """
    if "codec" in encoders:
        raise ValueError("encoders has 'codec', which is the autoencoder's name")
    named = {"codec": codec, **encoders}
    return {name: part for name, part in named.items() if isinstance(part, Frozen)}


def shapes(of: Parts) -> dict[str, Params]:
    """Returns the shapes of all parameters."""
    return {name: part.shapes() for name, part in of.items()}


def require(of: Parts) -> None:
    """Raises ValueError if the config does not say where a part's weights are; says which field."""
    unnamed = [place for name, part in of.items() for place in _unnamed(part, _field(name))]
    if unnamed:
        raise ValueError(
            f"{', '.join(unnamed)}: no weights are named; give a folder, a file or a name on the"
            f" hub, as by --config.{unnamed[0]}=path/to/it"
        )


def load(of: Parts, targets: Mapping[str, Params]) -> dict[str, Params]:
    """Reads all parameters, each array onto its devices.

    Raises:
        ValueError: a part's files are not named, missing, damaged or of another network; says
            which field of the config.
    """
    require(of)
    return {name: _named(name, part.load, targets[name]) for name, part in of.items()}


def check(of: Parts, folder: Path) -> dict[str, str]:
    """Returns the parts' fingerprints, compared with those that the run in a folder began with.

    Raises:
        ValueError: they are others; says which.
    """
    prints = {name: _named(name, part.fingerprint) for name, part in of.items()}
    file = folder / "weights.json"
    known = json.loads(file.read_text()) if file.exists() else prints
    others = [_field(name) for name in known if name in prints and known[name] != prints[name]]
    if others:
        raise ValueError(
            f"{', '.join(others)}: these are not the weights, or not the tokenizer, that the run in"
            f" {folder} began with"
        )
    return prints


def record(prints: Mapping[str, str], folder: Path) -> None:
    """Writes weights.json, where there are weights."""
    if prints:
        write_json(folder / "weights.json", prints)


def _field(name: str) -> str:
    return name if name == "codec" else f"encoders.{name}"


def _named(name: str, call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except ValueError as error:
        raise ValueError(f"{_field(name)}: {error}") from error


def _unnamed(part: Any, field: str) -> Iterator[str]:
    """Yields the fields `weights` that are empty, of a part and of those that it is made of."""
    for each in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        value = getattr(part, each.name)
        if each.name == "weights" and not value:
            yield f"{field}.weights"
        elif isinstance(value, Frozen):
            yield from _unnamed(value, f"{field}.{each.name}")
