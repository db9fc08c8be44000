"""What few-step objectives and solvers ask of a model, its teacher and its run.

All of it is checked when an experiment is built, before anything is compiled.
"""

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from jaxdiff import config as configs
from jaxdiff.diffusion.guidance import FROM, GUIDANCE, AsInput, ClassifierFree, Interval
from jaxdiff.files import as_path
from jaxdiff.networks import Fourier
from jaxdiff.tasks.model import Model, build_model, build_objective
from jaxdiff.typing import Solver

DENOISER, CONSISTENCY, FLOW_MAP = "denoiser", "consistency", "flow map"
ENOUGH = {
    DENOISER: {DENOISER, FLOW_MAP},
    CONSISTENCY: {CONSISTENCY, FLOW_MAP},
    FLOW_MAP: {FLOW_MAP},
}
"""For what a solver needs, what a model may have learned."""


def learns(objective: Any) -> str:
    """Returns what an objective teaches a model, "denoiser" where it does not say."""
    return next((o.learns for o in _nested(objective) if hasattr(o, "learns")), DENOISER)


def is_student(objective: Any) -> bool:
    """Returns whether a model begins as its teacher, where no other weights are named."""
    return any(hasattr(part, "learns") for part in _nested(objective))


def guidance_within(objective: Any, of_teacher: float = 1.0) -> float:
    """Returns the guidance scale that the samples of a model have already.

    A student takes over its teacher's; guidance of a teacher that has it in its weights is twice
    that, and is warned of.
    """
    own = next((o.guided for o in _nested(objective) if hasattr(o, "guided")), 1.0)
    if of_teacher != 1 and own != 1:
        warnings.warn(
            f"the objective's guidance of {own:g} on top of the scale {of_teacher:g} that its"
            " teacher was trained to have: guidance is applied twice",
            stacklevel=3,
        )
    return own * of_teacher


def guidance_of_run(path: str, shape: tuple[int, ...]) -> float:
    """Returns the guidance scale that the samples of a run have, as its config says.

    That of its teacher, and of the teacher's, counts where their folders are still there.
    """
    config: Any = configs.read_config(path)
    teacher = config.weights.get("teacher", "")
    known = teacher and (as_path(teacher) / "config.json").is_file()
    of_teacher = guidance_of_run(teacher, shape) if known else 1.0
    return guidance_within(build_objective(config, build_model(config), shape), of_teacher)


def check_objective(objective: Any, model: Model, teacher: Any, config: Any) -> None:
    """Raises ValueError if an objective lacks a teacher, an input, or time for its curriculum.

    Warns of embeddings of the time that tangents do not stand.
    """
    steps, scalars = config.train.steps, model.scalars
    sinusoids = getattr(model.network, "time_sinusoids", None)
    for part in _nested(objective):
        name = type(part).__name__
        if getattr(part, "needs_teacher", False) and teacher is None:
            raise ValueError(
                f"{name} learns from a teacher: name its run, --config.weights.teacher=RUN"
            )
        if getattr(part, "needs_perceptual", False) and not config.weights.get("perceptual", ""):
            raise ValueError(
                f"{name}: perceptual_weight={part.perceptual_weight:g} needs features: name a file"
                " of LPIPS or a run of Contrastive, --config.weights.perceptual=PATH"
            )
        if missing := [n for n in getattr(part, "needs_scalars", ()) if n not in scalars]:
            raise ValueError(
                f"{name}: the network has no input {missing[0]!r}; set network.inputs="
                f"{{'scalars': {{'{missing[0]}': 1000.0}}}}, where the number is its factor"
            )
        if hasattr(part, "check_config"):
            part.check_config(config)
        if getattr(part, "takes_tangents", False) and isinstance(sinusoids, Fourier):
            warnings.warn(
                f"{name} differentiates the network in time, and network.time_sinusoids="
                f"{type(sinusoids).__name__} turns fast: a tangent grows with the highest"
                " frequency, and with it the noise of training; take SinCos, whose fastest wave is"
                " that of the time input itself",
                stacklevel=3,
            )
        ends = getattr(part, "ends", 0)
        if isinstance(ends, int) and ends > steps:
            raise ValueError(
                f"{name}: its curriculum ends at step {ends}, after the run's train.steps={steps};"
                " shorten it, or train longer"
            )


def check_teacher(path: str, config: Any) -> None:
    """Raises ValueError if a run's conditions or codec are not those of a student's config."""
    other: Any = configs.read_config(path)
    if lacking := [name for name in other.conditions if name not in config.conditions]:
        raise ValueError(
            f"{path} has the conditions {lacking}, which the student lacks: its conditions are"
            f" {tuple(config.conditions)}"
        )
    # As JSON has them: a recipe's tuples are a file's lists.
    ours, others = (configs.as_dict(each)["codec"] for each in (config, other))
    if ours != others:
        raise ValueError(f"{path} has codec={others}, the student {ours}")


MEANING = ("process", "parameterization", "input_scaling", "time_input")
"""Fields that say what a network's output means."""


def check_beginning(path: str, config: Any) -> None:
    """Raises ValueError if a student with its teacher's weights would not be its teacher."""
    other: Any = configs.read_config(path)
    different = [
        f"{name}={configs.plain(config[name])!r}, the teacher {configs.plain(other[name])!r}"
        for name in MEANING
        if configs.plain(config[name]) != configs.plain(other[name])
    ]
    if different:
        raise ValueError(
            f"the student would begin with its teacher's weights, but has {'; '.join(different)}:"
            " take the teacher's, or begin anew, --config.weights.network='Random()'"
        )


def check_solver(solver: Solver, learned: str) -> None:
    """Raises ValueError if a solver needs what a model has not learned."""
    needs, name = getattr(solver, "needs", DENOISER), type(solver).__name__
    if learned in ENOUGH[needs]:
        return
    if needs == DENOISER:
        raise ValueError(
            f"sampling.solver={name} asks for the mean of the data given x_t, but the model is a"
            " consistency model; take Consistency"
        )
    kind = "a flow map, which reads 'until'" if needs == FLOW_MAP else "a consistency model"
    known = "; take Consistency" if learned == CONSISTENCY else ""
    raise ValueError(f"sampling.solver={name} needs {kind}, but the model is a {learned}{known}")


def guidance_of(
    guide: Any, guidance_scale: Any, scalars: Mapping[str, float], within: float
) -> Any:
    """Returns the guidance of a model, which may have it as an input, or in its weights already.

    Raises:
        ValueError: guidance beside that which is an input.
    """
    if GUIDANCE in scalars:
        return _as_input(guide, guidance_scale, FROM in scalars)
    if within != 1 and guidance_scale != 1:
        warnings.warn(
            f"guidance_scale={guidance_scale} on top of the scale {within:g} that the model was"
            " trained to have: guidance is applied twice",
            stacklevel=4,
        )
    return guide


def _as_input(guide: Any, guidance_scale: Any, interval: bool) -> AsInput:
    """Returns guidance as an input, between the times of an `Interval` if the model reads them."""
    if isinstance(guide, ClassifierFree | AsInput):
        return AsInput(guidance_scale, interval=interval)
    if interval and isinstance(guide, Interval) and guide.unit == "time" and guide.of is None:
        return AsInput(guidance_scale, guide.low, guide.high, interval=True)
    take = "ClassifierFree, or Interval(low=, high=) in times" if interval else "ClassifierFree"
    raise ValueError(
        f"sampling.guidance={type(guide).__name__}: the model has its guidance_scale as an input,"
        f" and guidance would be applied twice; take {take}"
    )


def _nested(part: Any) -> Iterator[Any]:
    yield part
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        for field in dataclasses.fields(part):
            yield from _nested(getattr(part, field.name, None))
