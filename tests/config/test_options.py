"""Values are checked against annotations and ranges; messages name field, value and what is right.

Mutations that make these fail: a bool passes as an integer, NaN is in a range, an integer of 65
bits is stored, `checked` looks at tracers, or a range is not looked at in a list.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import pytest

from jaxdiff import config as configs
from jaxdiff import networks
from jaxdiff.config.build import build
from jaxdiff.diffusion import guidance, schedules, solvers, timesteps
from jaxdiff.diffusion.process import Process
from jaxdiff.options import (
    Between,
    Filled,
    FloatType,
    PositiveFloat,
    Range,
    Size,
    check,
    checked,
    taken,
)

PROCESS = Process(schedules.Cosine())


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, 1),
        (float, jnp.float32(math.nan)),
        (Annotated[float, Range(finite=False)], math.inf),
        (Annotated[float, Range(ge=0, lt=1)], 0.0),
        (Size | None, None),
        (tuple[Size, ...], [1, 2]),
        (Literal["a", 1], 1),
        (Mapping[str, Size], {"a": 1}),
        (FloatType, "bfloat16"),
        (Callable[[int], int], len),
        (Any, "anything"),
    ],
)
def test_right_values_pass(kind, value):
    check("x", kind, value)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (float, "a", "a number"),
        (float, True, "a number"),
        (float, math.nan, "a number that is finite"),
        (float, 1e39, "a number that is finite"),
        (Annotated[float, Between(0, 1)], 2, "a number from 0 to 1"),
        (Annotated[float, Between(0, 1)], math.nan, "a number from 0 to 1"),
        (Annotated[float, Range(finite=False)], math.nan, "a number"),
        (PositiveFloat, 0, "a number above 0"),
        (int, 1.0, "an integer"),
        (int, True, "an integer"),
        (int, 2**63, "an integer that is finite and has 64 bits"),
        (Any, [2**64], "a value that is finite and has 64 bits"),
        (Size | None, 0, "an integer from 1 to 2147483647 or None"),
        (bool, 1, "True or False"),
        (str, None, "a text"),
        (Annotated[str, Filled()], "", "a text that is not empty"),
        (Literal["a", "b"], "c", "one of 'a', 'b'"),
        (Literal[1], True, "one of 1"),
        (tuple[Size, ...], [3, 0], "a list, each an integer from 1 to 2147483647"),
        (tuple[int, int], (1,), r"2 values \(an integer, an integer\)"),
        (Sequence[str], "abc", "a list, each a text"),
        (Mapping[str, int], {"a": "b"}, "a table {name: an integer}"),
        (FloatType, "int32", "a type of arrays"),
        (schedules.Schedule, 3, "a Schedule"),
    ],
)
def test_wrong_values_are_named(kind, value, words):
    with pytest.raises(ValueError, match=rf"part\.option is .*; expected {words}"):
        check("part.option", kind, value)


def test_values_from_a_file_are_those_of_python():
    """Fails if a list cannot be hashed, or an integer makes another program than the float."""
    found = taken("x", tuple[tuple[float, ...], ...], [[1, 2.5]])
    assert found == ((1.0, 2.5),)
    assert all(type(each) is float for each in found[0])
    assert taken("x", Sequence[Size], [1, 2]) == (1, 2)
    assert type(taken("x", float | None, 3)) is float
    assert type(taken("x", int | float, 3)) is int


def test_a_dataclass_checks_what_a_person_gives_and_no_tracers():
    @checked
    @dataclass(frozen=True)
    class Part:
        rate: Annotated[float, Between(0, 1)] = 0.5
        anything: Any = None

        def __post_init__(self):
            if self.rate > 2:
                raise AssertionError("the check comes first")

    with pytest.raises(ValueError, match=r"Part\.rate is 3; expected a number from 0 to 1"):
        Part(3)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Part(raet=3)
    traced = Annotated[float, Between(0, 1)]
    assert jax.jit(lambda rate: check("x", traced, rate) or rate)(jnp.float32(5)) == 5


@pytest.mark.parametrize(
    ("family", "spec", "message"),
    [
        (solvers, "DDIM(eta='a')", r"DDIM\.eta is 'a'; expected a number from 0 to 1"),
        (solvers, "DDIM(eta=None)", r"DDIM\.eta is None"),
        (solvers, {"name": "DDIM", "eta": 2.0}, r"DDIM\.eta is 2\.0"),
        (solvers, "UniPC(order=4)", r"UniPC\.order is 4; expected an integer from 1 to 3"),
        (solvers, "Restart(of=Restart(of=Heun()))", r"Restart\.of is Restart.*a Process Solver"),
        (timesteps, "Karras(rho='a')", r"Karras\.rho is 'a'; expected a number above 0"),
        (timesteps, "Restarting(of=3)", r"Restarting\.of is 3; expected a Timesteps"),
        (guidance, "ClassifierFree(guidance_scale=1e999)", "guidance_scale is inf"),
        (networks, {"name": "MLP", "num_blocks": -1}, r"MLP\.num_blocks is -1"),
        (networks, "dit_s(depth=0)", r"depth is 0; expected an integer from 1 to 1000"),
        (networks, "dit_s(depht=1)", "no option 'depht'; did you mean 'depth'"),
        (networks, {"name": "UNet", "inputs": {"vectors": {"a": 0}}}, r"Inputs\.vectors is"),
        (schedules, "Tabulated(betas=[0.1, 2.0])", r"Tabulated\.betas is \[0\.1, 2\.0\]"),
        (solvers, 3, "solver is 3; expected a name, a call"),
    ],
)
def test_options_of_specs_are_checked(family, spec, message):
    with pytest.raises(ValueError, match=message):
        build(family, spec, process=PROCESS, num_classes=3)


@pytest.mark.parametrize(
    "spelled", ["dpmpp2m", "DPM++ 2M", "dpm++2m", "DPM-PP-2M", "dpm_pp_2m()", {"name": "DPMPP2M"}]
)
def test_names_are_found_in_any_spelling(spelled):
    assert build(solvers, spelled, process=PROCESS) == solvers.DPMpp2M(PROCESS)


def test_names_that_are_near_are_listed():
    with pytest.raises(ValueError, match=r"unknown solver 'dpm2mm'; did you mean 'DPM"):
        build(solvers, "dpm2mm", process=PROCESS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("optimizer.clip_norm", -1.0, r"optimizer\.clip_norm is -1\.0; expected a number of at le"),
        ("train.keep_checkpoints", 0, r"train\.keep_checkpoints is 0; expected an integer from 1"),
        ("sampling.guidance_scale", math.nan, r"sampling\.guidance_scale is nan"),
        ("seed", 2**64, "seed is 18446744073709551616"),
        ("evaluation.split", "", r"evaluation\.split is ''; expected a text that is not empty"),
        ("parallel", "", "parallel is ''; expected a name of layouts"),
        ("network", {"depth": 3}, "network is {'depth': 3}; expected a name of networks"),
        ("optimizers", {"network": {"every": 0}}, r"optimizers\.network\.every is 0"),
        ("transforms", ("",), "transforms is"),
        ("data.shape", (), r"data\.shape is \[\]; expected a list that is not empty"),
    ],
)
def test_fields_of_a_config_are_checked(field, value, message):
    config = configs.default()
    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message):
        configs.check(config)
