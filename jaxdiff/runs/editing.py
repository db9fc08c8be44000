"""Edits of pictures: under another condition or prompt, and ways between two seeds."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.diffusion import editing
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import prior
from jaxdiff.diffusion.solvers import DDIM
from jaxdiff.options import Count, Share, Size, Steps, check
from jaxdiff.runs.run import Run
from jaxdiff.tasks.attention import PromptEdit
from jaxdiff.tasks.known import checked_array

Pictures = Float[np.ndarray, "n *shape"]


def edit(
    run: Run,
    image: Any,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    *,
    strength: float = 0.65,
    steps: int = 50,
    source_scale: float = 1.0,
    target_scale: float = 3.0,
    seed: int = 0,
) -> Pictures:
    """Returns pictures as `target` says in place of `source`, otherwise as they were.

        edit(run, picture, {"text": "a red cat, on a blue ground"},
                           {"text": "a green cat, on a blue ground"})

    The noise that leads to a picture under `source` is replayed under `target` (edit-friendly
    inversion, Huberman-Spiegelglas et al. 2024), whose guidance scales were 3.5 and 15.

    Args:
        run: a diffusion model with conditions.
        image: pictures [n, ...] in [-1, 1].
        source, target: a value of each condition, for all pictures or for each.
        strength: the share of the steps that are replayed: 0 leaves a picture as it is.
        steps: of the sampling.
        source_scale, target_scale: of guidance.
        seed: of the noise.

    Raises:
        ValueError: a value is out of range, or pictures have another shape.
    """
    check("strength", Share, strength)
    check("steps", Steps, steps)
    x = checked_array("image", np.asarray(image), (len(image), *run.shape))
    keys = random.example_keys(jax.random.key(seed), jnp.arange(len(x)))
    codec, params = run.codec, run.weights.get("codec")
    times = run.times(solver="DDIM", steps=steps, t_start=1.0, t_end=0.0)
    solver = DDIM(_process(run), eta=1.0)
    skipped = min(round((1 - strength) * steps), steps - 1)

    @jax.jit
    def whole(before, after, params, x, was, wanted):
        z = codec.encode(params, x, keys)
        found = editing.edit_friendly(solver, before, z, times, was, keys)
        return codec.decode(params, editing.replay(solver, after, found.later(skipped), wanted))

    denoisers = (run.denoiser(scale) for scale in (source_scale, target_scale))
    conds = (run.encode(len(x), cond) for cond in (source, target))
    return np.asarray(whole(*denoisers, params, x, *conds))


def prompt_to_prompt(
    drawer: Any,
    source: str,
    target: str,
    num: int = 1,
    *,
    edit: PromptEdit | None = None,
    seed: int = 0,
    **options: Any,
) -> Float[np.ndarray, "num two *shape"]:
    """Returns `num` pictures of a prompt, each with its edit by another prompt.

        prompt_to_prompt(pipeline, "a red cat", "a red dog")
        prompt_to_prompt(run, "a cat", "a cat", edit=PromptEdit(weights={"cat": 2.0}))

    Both begin with the same noise, and the edit has maps of attention of the source in a share of
    the steps (Hertz et al. 2022).

    Args:
        drawer: a `Run` or a released `Pipeline`, whose network attends to a text.
        source, target: the prompts; the same one, where only weights of words are changed.
        num: the number of pairs.
        edit: the shares, and the weights of words.
        seed: of the noise.
        **options: those of `Run.sample`.

    Raises:
        ValueError: a word is not in the prompt, or the network has no such attention.
    """
    check("num", Size, num)
    texts = {"text": [source, target] * num}
    first = np.repeat(np.arange(num), 2).tolist()
    seeds = {"seed": [seed] * (2 * num), "first": first}
    pictures = drawer.sample(2 * num, texts, edit=edit or PromptEdit(), **seeds, **options)
    return pictures.reshape(num, 2, *pictures.shape[1:])


def interpolate(
    run: Run,
    first: int,
    second: int,
    num: int,
    cond: Mapping[str, Any] | None = None,
    **options: Any,
) -> Pictures:
    """Returns `num` pictures on the way from one seed's picture to another's.

    The noises in between lie on the arc (slerp). `options` are those of `Run.sample`; the solver
    should be deterministic.

    Raises:
        ValueError: fewer than two pictures.
    """
    check("num", Size, num)
    for name, seed in (("first", first), ("second", second)):
        check(name, Count, seed)
    if num < 2:
        raise ValueError(f"num={num}: at least 2, the two ends")
    a, b = (_noise(run, seed) for seed in (first, second))
    noise = np.concatenate([editing.slerp(a, b, share) for share in np.linspace(0, 1, num)])
    return run.sample(num, cond, noise=noise, **options)


def _noise(run: Run, seed: int) -> Array:
    """Returns the noise of a seed's first sample, as `Run.sample` draws it."""
    keys = random.example_keys(random.stream(jax.random.key(seed), "sample"), jnp.zeros(1, int))
    like = jnp.zeros((1, *run.latent_shape))
    return prior(_process(run), keys, like, jnp.ones(()))


def _process(run: Run) -> Process:
    if run.process is None:
        raise ValueError("edits are of diffusion models; this run's task has no forward process")
    return run.process
