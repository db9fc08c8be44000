"""The training step of an experiment, compiled for devices that need not be there."""

import dataclasses
import os
import time
from typing import Any, NamedTuple

import jax

from jaxdiff.cost.collectives import Sent, collectives
from jaxdiff.cost.flops import flops
from jaxdiff.cost.hardware import Chip, chip, chip_of
from jaxdiff.runs.experiment import Experiment
from jaxdiff.training.step import make_step
from jaxdiff.weights.devices import Devices, make_mesh


class Target(NamedTuple):
    """Devices to compile for, and their chip where it is known."""

    devices: Any
    chip: Chip | None


def target(topology: str) -> Target:
    """Returns the devices of a topology: "cpu:8", "here", or of TPUs: "v5e:4x4", "2*v5e:4x4".

    The latter is of two slices, with slower links between them.

    Raises:
        ValueError: it is unknown, or there are not as many devices here.
        ImportError: the package libtpu is missing.
    """
    name, _, shape = topology.partition(":")
    if name in ("cpu", "here"):
        devices = jax.devices()
        count = int(shape) if shape.isdecimal() else len(devices)
        if not 1 <= count <= len(devices):
            raise ValueError(
                f"topology={topology!r}: there are {len(devices)} devices here; for more on a CPU,"
                f" XLA_FLAGS=--xla_force_host_platform_device_count={count}"
            )
        return Target(devices[:count], chip_of(devices[0].device_kind))
    slices, _, one = topology.rpartition("*")
    if slices and not slices.isdecimal():
        raise ValueError(f"topology={topology!r}: {slices!r} is no number of slices")
    known = chip(one.partition(":")[0])
    # This machine need not be in a slice of TPUs, nor its own devices be of use.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    jax.config.update("jax_platforms", "cpu")
    from jax.experimental import topologies  # noqa: PLC0415 - loads libtpu

    try:
        several = {"num_slices": int(slices)} if slices else {}
        description = topologies.get_topology_desc(one, platform="tpu", **several)
    except Exception as error:  # of several kinds
        raise ValueError(
            f"topology={topology!r} is not one that libtpu knows ({error}); such as v5e:4x4,"
            " v5p:2x2x4, 2*v5e:4x4; pip install 'jaxdiff[tpu]'"
        ) from error
    return Target(description.devices, known)


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one training step.

    Attributes:
        chips: the devices; `batch_size`, of all of them.
        seconds: of compiling.
        flops: of a step over all chips, counted in the jaxpr; `compiler_flops`, as the compiler
            says for one chip, loops counted once.
        memory: bytes on one chip by kind: arguments, outputs, aliased, temporaries, code.
        accessed: bytes that one chip reads and writes, as the compiler says.
        sent: collectives by kind, for one chip.
    """

    chips: int
    batch_size: int
    seconds: float
    flops: int
    compiler_flops: float
    memory: dict[str, int]
    accessed: float
    sent: dict[str, Sent]

    @property
    def peak(self) -> int:
        """Returns the bytes that one chip must hold at once."""
        kinds = self.memory
        total = kinds["arguments"] + kinds["outputs"] + kinds["temporaries"] + kinds["code"]
        return total - kinds["aliased"]

    def bounds(self, on: Chip) -> dict[str, float]:
        """Returns the seconds of a step if it were bound by arithmetic, memory, or links alone."""
        sent = sum(each.bytes for each in self.sent.values())
        return {
            "arithmetic": self.flops / self.chips / on.flops,
            "memory": self.accessed / on.bandwidth,
            "links": sent / on.link,
        }


def of_experiment(experiment: Experiment) -> Cost:
    """Compiles the training step for the experiment's devices, and returns its cost."""
    devices, recipe = experiment.devices, experiment.recipe
    state = experiment.abstract_state()
    batch = experiment.task.example(recipe.batch_size)
    batch = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=devices.divided), batch
    )
    start = time.perf_counter()
    compiled = experiment.runner.lower(state, batch).compile()
    seconds = time.perf_counter() - start
    with devices.algorithms():
        counted = flops(make_step(recipe), state, batch, recipe.numbers(0))
    memory, analysis = compiled.memory_analysis(), compiled.cost_analysis() or {}
    size = lambda kind: int(getattr(memory, f"{kind}_size_in_bytes", 0) or 0)
    kinds = {"arguments": "argument", "outputs": "output", "aliased": "alias"}
    kinds |= {"temporaries": "temp", "code": "generated_code"}
    return Cost(
        chips=devices.count,
        batch_size=recipe.batch_size,
        seconds=seconds,
        flops=counted,
        compiler_flops=float(analysis.get("flops", 0.0)),
        memory={name: size(kind) for name, kind in kinds.items()},
        accessed=float(analysis.get("bytes accessed", 0.0)),
        sent=collectives(compiled.as_text()),
    )


def experiment_on(config: Any, where: Target) -> Experiment:
    """Returns the experiment of a config on the devices of a target."""
    return Experiment(config, Devices(make_mesh(where.devices), config.parallel))
