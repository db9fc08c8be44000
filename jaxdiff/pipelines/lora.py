"""LoRA and its relatives on a pipeline: whose tree each module changes, and what was left over."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxdiff.networks.dit import MMDiT
from jaxdiff.pretrained import open_tensors, resolve
from jaxdiff.pretrained.files import header_of
from jaxdiff.pretrained.lora import Change, Module, adapted, changes_of, modules_of
from jaxdiff.pretrained.lora.files import ENCODERS, NETWORK, alpha_of, scales_of
from jaxdiff.pretrained.rules import Table
from jaxdiff.pretrained.tables import dit, original, unet
from jaxdiff.pretrained.tables import text as texts
from jaxdiff.typing import Params

logger = logging.getLogger(__name__)

Weights = Mapping[str, Params]

OF_SEVERAL = {"clip_l": ENCODERS[0], "bigg": ENCODERS[1], "t5": ENCODERS[2]}
"""The parts of a model by the names of its text encoders here."""


class Lora(NamedTuple):
    """The changes of a file, by the part of the model, and the modules that have no place in it."""

    changes: Mapping[str, Sequence[Change]]
    unused: Sequence[str]

    @property
    def used(self) -> int:
        """Returns the number of changes."""
        return sum(map(len, self.changes.values()))


def read_lora(source: str | os.PathLike, network: Any, weights: Weights) -> Lora:
    """Reads the changes that a file makes of a pipeline's weights.

    Raises:
        ValueError: the file is missing or damaged, of an unknown kind, or of another shape.
    """
    file = resolve(source)
    tensors, name = open_tensors(file), repr(str(file))
    settings = scales_of(header_of(file) if file.is_file() else None)
    by_part: dict[str, list[Module]] = {}
    for module in modules_of(tensors, name):
        by_part.setdefault(module.part, []).append(module)
    trees, changes, unused = trees_of(weights), {}, []
    for part, modules in by_part.items():
        if part not in trees:
            unused += [f"{part}: {module.name}" for module in modules]
            continue
        found = settings.get(part, {})
        alphas = {m.name: alpha_of(found, m.name) for m in modules}
        alphas = {key: alpha for key, alpha in alphas.items() if alpha is not None}
        tables = tables_of(part, network, trees[part])
        changes[part], rest = changes_of(modules, tables, trees[part], alphas, name)
        unused += [f"{part}: {each}" for each in rest]
    return Lora(changes, unused)


def with_changes(weights: Weights, network: Any, lora: Lora, weight: Any) -> dict[str, Params]:
    """Returns the weights with `weight` times the changes of a file: a function of trees."""
    trees = trees_of(weights)
    for part, changes in lora.changes.items():
        table = tables_of(part, network, trees[part])[0]
        trees[part] = adapted(table, trees[part], changes, weight)
    text, inner = weights["text"], weights["text"]["network"]
    if _is_several(inner):
        changed = {name: trees[OF_SEVERAL[name]] for name in inner}
    else:
        changed = trees[ENCODERS[0]]
    return {**weights, "network": trees[NETWORK], "text": {**text, "network": changed}}


def trees_of(weights: Weights) -> dict[str, Params]:
    """Returns the trees that adapters change, by the part of the model."""
    inner = weights["text"]["network"]
    encoders = {ENCODERS[0]: inner}
    if _is_several(inner):
        encoders = {OF_SEVERAL[name]: tree for name, tree in inner.items()}
    return {NETWORK: weights["network"], **encoders}


def tables_of(part: str, network: Any, params: Params) -> list[Table]:
    """Returns the tables of the names that a part's arrays have in files of adapters."""
    if part != NETWORK:
        if "distances" in params:
            return [texts.t5()]
        return [texts.clip_text(), texts.clip_text("")]
    if isinstance(network, MMDiT):
        sizes = network.depth, network.patch[-1], network.dual_depth
        return [dit.sd3(*sizes), original.mmdit(*sizes)]
    depths, layers = network.transformer_depth, network.layers_per_block
    return [unet.unet2d(len(network.channels)), original.unet(depths, layers)]


def check_used(lora: Lora, source: Any) -> None:
    """Raises ValueError if a module has no place in the model; logs what was used."""
    name = Path(source).name
    if lora.unused:
        raise ValueError(
            f"{str(source)!r}: {len(lora.unused)} of {len(lora.unused) + lora.used} changes have no"
            f" place in the model, as of another family: {', '.join(lora.unused[:5])}; give"
            " strict=False to leave them out"
        )
    logger.info("%s: %d changes", name, lora.used)


def _is_several(inner: Params) -> bool:
    return "words" not in inner
