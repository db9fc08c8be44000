"""What is done with a model's attention to the words of prompts: prompt-to-prompt, excitation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdiff.condition import conditions, fill, keep_of
from jaxdiff.conditioning.conditions import filled
from jaxdiff.conditioning.spans import Kind, Spans, aligned, scales
from jaxdiff.diffusion.excitation import Excited, least_excitation
from jaxdiff.networks.attention_maps import EditedMaps, SharedMaps, edits_of
from jaxdiff.options import Between, PositiveFloat, Share, checked
from jaxdiff.tasks.model import BoundModel
from jaxdiff.tasks.phases import since
from jaxdiff.trees import pytree, replaced
from jaxdiff.typing import Cond, Denoiser, Prediction, Solver

TEXT = "text"


@checked
@dataclass(frozen=True)
class PromptEdit:
    """Every second sample is an edit of the one before it, by its prompt (Hertz et al. 2022).

    Both should begin with the same noise, as by `runs.editing.prompt_to_prompt`.

    Attributes:
        cross: the share of the steps, from the noise, in which the maps of attention to the text
            are those of the sample before.
        shared: the share in which those of self-attention are, which keeps the layout.
        weights: factors of the maps of words of the edit's prompt, {"fluffy": 2.0}; they act in the
            share `cross`.
        kind: "replace" or "refine", see `conditioning.spans.aligned`.
    """

    cross: Share = 0.8
    shared: Share = 0.4
    weights: Mapping[str, float] | None = None
    kind: Kind | None = None


@checked
@dataclass(frozen=True)
class Excite:
    """Words whose least attention is raised, so that none is left out (Chefer et al. 2023).

    Attributes:
        words: of the prompt of each sample.
        rate: of the gradient steps of x.
        share: of the steps, from the noise, in which x moves.
        iterations: gradient steps before each step.
    """

    words: Sequence[str]
    rate: PositiveFloat = 20.0
    share: Share = 0.5
    iterations: Annotated[int, Between(1, 100)] = 1

    def __post_init__(self):
        if not self.words or isinstance(self.words, str):
            raise ValueError(f"excite: words={self.words!r}: a list of words of the prompt")


def check(
    num: int,
    edit: PromptEdit | None,
    excite: Excite | None,
    cond: Mapping[str, Any] | None,
    encoders: Mapping[str, Any],
    times: Any,
    batch_size: int,
) -> dict[str, Any]:
    """Returns the arrays of both, a row for each sample; {} for none.

    Raises:
        ValueError: there is no prompt, a word is not in it, or samples are no pairs.
    """
    if edit is None and excite is None:
        return {}
    texts = (cond or {}).get(TEXT)
    encoder: Any = encoders.get(TEXT)
    if texts is None or not hasattr(encoder, "spans"):
        raise ValueError("edit, excite: there is no prompt, or no encoder that knows its words")
    texts = [texts] * num if isinstance(texts, str) else list(texts)
    spans = {text: encoder.spans(text) for text in dict.fromkeys(texts)}
    each = [spans[text] for text in texts]
    found = {}
    if edit is not None:
        if num % 2 or batch_size % 2:
            raise ValueError(
                f"edit: num={num} and batch_size={batch_size}: samples are pairs, a source and its"
                " edit; both numbers must be even"
            )
        found["edit"] = _edit(num, edit, each, times)
    if excite is not None:
        found["excite"] = _excite(num, excite, each, times)
    return found


def _edit(num: int, edit: PromptEdit, each: Sequence[Spans], times: Any) -> dict[str, Any]:
    made: dict[Any, Any] = {}
    rows = []
    for source, target in zip(each[::2], each[1::2], strict=True):
        key = id(source), id(target)
        if key not in made:
            made[key] = *aligned(source, target, edit.kind), scales(target, edit.weights or {})
        rows += [made[key]] * 2
    alignment, replaced_, scaled = (np.stack(parts) for parts in zip(*rows, strict=True))
    found = {"alignment": alignment, "replaced": replaced_, "scales": scaled}
    found |= {"is_edit": np.arange(num) % 2 == 1, "cross": since(num, edit.cross, times)}
    return found | ({"shared": since(num, edit.shared, times)} if edit.shared else {})


def _excite(num: int, excite: Excite, each: Sequence[Spans], times: Any) -> dict[str, Any]:
    words = np.zeros((num, len(excite.words), each[0].length), bool)
    text = np.zeros((num, each[0].length), bool)
    for row, found in enumerate(each):
        text[row, [n for _, places in found.words for n in places]] = True
        for i, word in enumerate(excite.words):
            words[row, i, found.of(word)] = True
    numbers = {
        "until": since(num, excite.share, times),
        "rate": np.full(num, excite.rate, np.float32),
        # Their number is a shape: another one is another program.
        "iterations": np.zeros((num, excite.iterations), bool),
    }
    return {"words": words, "text": text, **numbers}


def edited(model: BoundModel, empty: Cond, given: Mapping[str, Any]) -> Denoiser:
    """Returns the denoiser with empty conditions filled in, and with the edit of `check`."""
    return Edited(model, empty, given["edit"]) if "edit" in given else filled(model, empty)


def excited(solver: Solver, model: BoundModel, empty: Cond, given: Mapping[str, Any]) -> Solver:
    """Returns the solver that moves x for the words of `check`."""
    if "excite" not in given:
        return solver
    rows = given["excite"]

    def loss(x: Array, t: Array, cond: Cond) -> Array:
        maps = model.text_maps(x, t, fill(cond, empty, len(x)) if empty else cond)
        return least_excitation(maps, (x.shape[1], x.shape[2]), rows["words"], rows["text"])

    return Excited(solver, loss, rows["until"], rows["rate"], rows["iterations"].shape[1])


@pytree(data=("model", "empty", "rows"))
@dataclass(frozen=True)
class Edited:
    """A model in whose batch every second row has maps of attention of the row before.

    Rows whose text is dropped, those of guidance, are left as they are. `rows` are those of
    `check`; guidance may ask about the samples several times in one batch.
    """

    model: BoundModel
    empty: Cond
    rows: Mapping[str, Any]

    def __call__(self, x: Array, t: Array, cond: Cond) -> Prediction:
        """Returns the prediction."""
        again = len(x) // len(self.rows["is_edit"])
        rows = jax.tree.map(lambda a: jnp.concatenate([a] * again), dict(self.rows))
        if TEXT not in cond:
            return filled(self.model, self.empty)(x, t, cond)
        is_edit = rows["is_edit"] & keep_of(conditions(cond)[TEXT])
        t = jnp.broadcast_to(t, (len(x),))
        of_text = EditedMaps(
            rows["alignment"], rows["replaced"], rows["scales"], is_edit & (t > rows["cross"])
        )
        edits: dict[str, Any] = {TEXT: of_text}
        if "shared" in rows:
            edits["self"] = SharedMaps(is_edit & (t > rows["shared"]))
        model = replaced(self.model, edits=edits_of(self.model.params, **edits))
        return filled(model, self.empty)(x, t, cond)
