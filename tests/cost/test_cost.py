"""What a step costs: operations against closed forms and the compiler, collectives by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxdiff import Experiment
from jaxdiff.cost import hardware
from jaxdiff.cost.collectives import collectives
from jaxdiff.cost.flops import flops
from jaxdiff.cost.step import of_experiment, target
from jaxdiff.weights.devices import AXIS, Devices, make_mesh
from tests.support.tiny import points_config

F32 = jnp.float32


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, F32)


def conv(x, kernel, **options):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, dimension_numbers=numbers, **options)


def test_products_loops_and_branches_are_counted():
    """In closed form; fails if a loop's body counts once, or branches add up."""
    a, b = shape(3, 5, 7), shape(3, 7, 11)
    product = 2 * 3 * 5 * 7 * 11
    assert flops(jnp.matmul, a, b) == product
    square, x = shape(4, 4), shape(4)
    once = 2 * 4 * 4
    step = lambda m: lambda x, _: (m @ x, None)
    assert flops(lambda m, x: lax.scan(step(m), x, None, length=6)[0], square, x) == 6 * once
    branch = lambda m, x: lax.cond(x[0] > 0, lambda: m @ (m @ x), lambda: m @ x)
    assert flops(branch, square, x) == 2 * once
    gradient = jax.grad(lambda m, x: (jax.checkpoint(lambda m, x: m @ x)(m, x) ** 2).sum())
    assert flops(gradient, square, x) >= 2 * once


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1), "padding": "SAME"},
        {"window_strides": (2, 2), "padding": ((0, 1), (1, 0))},
        {"window_strides": (1, 1), "padding": ((2, 2), (2, 2)), "lhs_dilation": (2, 2)},
        {"window_strides": (1, 1), "padding": "VALID", "rhs_dilation": (2, 2)},
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
    ],
)
def test_convolutions_count_as_the_compiler_counts(options):
    """Padding and inserted zeros cost nothing."""
    groups = options.get("feature_group_count", 1)
    x, kernel = shape(2, 9, 8, 4), shape(3, 3, 4 // groups, 6)
    ours = flops(lambda x, k: conv(x, k, **options), x, kernel)
    lowered = jax.jit(lambda x, k: conv(x, k, **options)).lower(x, kernel)
    assert ours == pytest.approx(lowered.cost_analysis()["flops"], rel=0.01)


def test_collectives_are_counted_with_their_bytes_and_turns():
    """On eight devices: a sum, a gather, and a sum in a loop of five turns."""
    mesh = make_mesh(jax.devices()[:8])
    divided, whole = (jax.NamedSharding(mesh, spec) for spec in (P(AXIS), P()))
    x = jax.ShapeDtypeStruct((16, 4), F32, sharding=divided)
    compiled = lambda f: jax.jit(f, out_shardings=whole).lower(x).compile().as_text()
    assert collectives(compiled(lambda x: x.sum(0))) == {"all-reduce": (1, 16)}
    assert collectives(compiled(lambda x: x)) == {"all-gather": (1, 256)}

    def looped(x):
        inside = jax.shard_map(
            lambda y: lax.fori_loop(0, 5, lambda _, z: lax.psum(z * 0.1, AXIS), y),
            mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False,
        )  # fmt: skip
        return inside(x)

    text = jax.jit(looped, out_shardings=divided).lower(x).compile().as_text()
    assert collectives(text) == {"all-reduce": (5, 5 * 2 * 4 * 4)}


def test_a_started_collective_counts_its_result():
    """As TPUs write them: operand and result in one tuple."""
    text = (
        "ENTRY %main (x: bf16[2,4]) -> bf16[8,4] {\n"
        "  %s = (bf16[2,4]{1,0}, bf16[8,4]{1,0}) all-gather-start(%x), dimensions={0}\n"
        "  ROOT %d = bf16[8,4]{1,0} all-gather-done(%s)\n}\n"
    )
    assert collectives(text) == {"all-gather": (1, 64)}


def test_a_loop_turns_as_often_as_its_condition_says_and_a_channel_counts_once():
    """As TPUs' compiler writes them: no number of turns, and a gather in parts in two fusions."""
    gather = "  %g = bf16[8,4]{1,0} all-gather(%x), channel_id=7, dimensions={0}\n}\n"
    text = (
        f"%begin (x: bf16[2,4]) -> bf16[8,4] {{\n{gather}"
        f"%end (x: bf16[2,4]) -> bf16[8,4] {{\n{gather}"
        "%body (p: (s32[], bf16[2,4])) -> (s32[], bf16[2,4]) {\n"
        "  %a = bf16[8,4]{1,0} fusion(%y), kind=kCustom, calls=%begin\n"
        "  %b = bf16[8,4]{1,0} fusion(%a), kind=kCustom, calls=%end\n}\n"
        "%goes_on (p: (s32[], bf16[2,4])) -> pred[] {\n"
        "  %other = s32[]{:T(128)} constant(3)\n"
        "  %count = s32[]{:T(128)} constant(28)\n"
        "  ROOT %lt = pred[] compare(%counter, %count), direction=LT\n}\n"
        "ENTRY %main (x: bf16[2,4]) -> bf16[2,4] {\n"
        "  %w = (s32[], bf16[2,4]) while(%t), condition=%goes_on, body=%body\n}\n"
    )
    assert collectives(text) == {"all-gather": (28, 28 * 64)}


def test_the_cost_of_a_tiny_training_step():
    """Under FSDP on eight devices; counted operations agree with a hand count of the layers."""
    config = points_config()
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.parallel = "fsdp"
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:8]), "fsdp"))
    cost = of_experiment(experiment)
    assert (cost.chips, cost.batch_size) == (8, config.batch_size)
    assert cost.peak > 0
    kernels = [p for p in jax.tree.leaves(experiment.abstract_state().params) if p.ndim == 2]
    # A product forward, and two backward but for the gradient of the input.
    most = sum(6 * config.batch_size * np.prod(k.shape) for k in kernels)
    assert 0.6 * most < cost.flops <= most
    assert {"all-gather", "all-reduce"} & set(cost.sent)
    chip = hardware.chip("v5e")
    assert cost.bounds(chip)["arithmetic"] == pytest.approx(cost.flops / 8 / 197e12)


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v5w:4x4", r"no chip 'v5w'; did you mean"),
        ("2*v5w:4x4", r"no chip 'v5w'; did you mean"),
        ("two*v5e:4x4", r"'two' is no number of slices"),
        ("cpu:99", r"there are 8 devices here; .*device_count=99"),
    ],
)
def test_an_unknown_topology_is_named(topology, message):
    with pytest.raises(ValueError, match=message):
        target(topology)


def test_prices_are_checked_and_chips_are_found_by_their_device(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text('{"date": "2025", "currency": "EUR", "chip_hour": {"v5e": -1}}')
    with pytest.raises(ValueError, match=r"chip_hour\.v5e=-1 is no number above 0"):
        hardware.prices(path)
    names = ("TPU v5 lite", "TPU v5", "NVIDIA H100 80GB HBM3", "cpu")
    found = [hardware.chip_of(name) for name in names]
    assert [chip and chip.name for chip in found] == ["v5e", "v5p", "h100", None]
