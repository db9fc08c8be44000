"""How a run lies on its devices: the axes of the mesh, and rules for parameters by their names.

The field `parallel` names one: "jit", "fsdp", "pmap", or "Mesh(fsdp=8, tensor=2)".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType
from jax.sharding import Mesh as DeviceMesh

from jaxdiff.options import Count, checked

DATA, FSDP, SEQUENCE, TENSOR = "data", "fsdp", "sequence", "tensor"
AXES = (DATA, FSDP, SEQUENCE, TENSOR)
"""From the slowest links to the fastest: devices along the last axis are neighbours."""

Spec = tuple[str | None, ...]
Rule = tuple[str, Spec]


@checked
@dataclass(frozen=True)
class Mesh:
    """Devices along four axes; one size may be 0, for all devices that the others leave.

    Attributes:
        data: each has other examples, and all parameters.
        fsdp: each has other examples, and a part of each parameter, gathered when it is used
            (Zhao et al., 2023; Rajbhandari et al., 2020).
        tensor: each has other heads and hidden channels (Shoeybi et al., 2019).
        sequence: each has other tokens, or rows of pixels, of the same examples.
        slices: groups of devices with slower links between them, over which `data` is divided; 0
            for those that the devices themselves name, as the slices of TPUs.
        attention: over "sequence": "heads" exchanges tokens for heads (Jacobs et al., 2023),
            "keys" gathers all keys and values, "ring" sends them around (Liu et al., 2023).
        kernel: attention's implementation on each device, of `networks.algorithms.KERNELS`.
        whole_below: MiB; frozen parts that are smaller are kept whole on each device, since
            gathering them at each use costs more than keeping them.
        rules: pairs of a pattern (`re.search` in "network/blocks/mlp/out/kernel") and the mesh's
            axes for the last axes of the array: ("out/kernel$", ("tensor", None)). They come before
            those of `placement`, the first that fits counts, and "fsdp" is then used only where the
            rule says so.
        constrained: whether activations are said to be divided by example, and heads by "tensor";
            False leaves them to the compiler, which may send them at every layer.
        mapped: whether the step is mapped over "data" with its means written out, as by `jax.pmap`.

    Raises:
        ValueError: two sizes are 0, a rule names an unknown axis, or one is out of range.
    """

    data: Count = 0
    fsdp: Count = 1
    tensor: Count = 1
    sequence: Count = 1
    slices: Count = 0
    attention: Literal["heads", "keys", "ring"] = "heads"
    kernel: Literal["auto", "xla", "blocks", "cudnn", "splash"] = "auto"
    whole_below: Count = 512
    rules: Sequence[Any] = ()
    constrained: bool = True
    mapped: bool = False

    def __post_init__(self):
        open_axes = [name for name, size in self._given.items() if size == 0]
        if len(open_axes) > 1:
            raise ValueError(f"Mesh: {' and '.join(open_axes)} are both 0, the rest; give a number")
        for rule in self.rules:
            _check_rule(rule)
        if self.mapped and any(self._given[name] != 1 for name in AXES if name != DATA):
            raise ValueError("Mesh: mapped=True needs all axes but data to be 1")

    @property
    def _given(self) -> Mapping[str, int]:
        return {name: getattr(self, name) for name in AXES}

    def sizes(self, devices: int) -> dict[str, int]:
        """Returns the devices along each axis.

        Raises:
            ValueError: they do not multiply to the number of devices.
        """
        given = dict(self._given)
        fixed = math.prod(size for size in given.values() if size)
        rest, left = divmod(devices, fixed)
        opened = next((name for name, size in given.items() if size == 0), None)
        if left or (opened is None and rest != 1):
            product = " · ".join(f"{name}={size or 'rest'}" for name, size in given.items())
            others = math.prod(size for name, size in given.items() if size and name != DATA)
            hint = f"data={devices // others}" if devices % others == 0 else "smaller sizes"
            raise ValueError(
                f"parallel: {product} needs {'a multiple of ' if opened else ''}{fixed} devices,"
                f" but there are {devices}; for example {hint}"
            )
        if opened is not None:
            given[opened] = rest
        return given

    def over(self, devices: Sequence[Any]) -> DeviceMesh:
        """Returns JAX's mesh over these devices, which are those of JAX, or described like them.

        Raises:
            ValueError: the sizes do not fit the devices or their slices, or the batch of a process
                would not be its own.
        """
        needed = {"cudnn": ("gpu", "cuda"), "splash": ("tpu",)}.get(self.kernel)
        if needed and devices[0].platform not in needed:
            raise ValueError(
                f"parallel: kernel={self.kernel!r} on {devices[0].platform}; it needs a"
                f" {needed[0].upper()}"
            )
        if self.kernel == "blocks" and len(devices) > 1:
            raise ValueError(
                f"parallel: kernel='blocks' on {len(devices)} devices: it goes example by example,"
                " so each would wait for the others; use 'auto'"
            )
        sizes = self.sizes(len(devices))
        types = (AxisType.Auto,) * len(AXES)
        of_process = sum(each.process_index == devices[0].process_index for each in devices)
        together = sizes[SEQUENCE] * sizes[TENSOR]
        if of_process < len(devices) and of_process % together:
            raise ValueError(
                f"parallel: sequence · tensor = {together} devices share their examples, which must"
                f" divide the {of_process} devices of a process"
            )
        named = len({getattr(each, "slice_index", 0) for each in devices})
        slices = self.slices or named
        if slices == 1:
            return jax.make_mesh(tuple(sizes.values()), AXES, types, devices=list(devices))
        if sizes[DATA] % slices:
            raise ValueError(
                f"parallel: data={sizes[DATA]} is not a multiple of the {slices} slices; examples"
                f" are divided over slices, and all else within one: data={slices}, for example"
            )
        grid = mesh_utils.create_hybrid_device_mesh(
            (sizes[DATA] // slices, *(sizes[name] for name in AXES[1:])),
            (slices, *(1 for _ in AXES[1:])),
            devices,
            process_is_granule=named == 1,
        )
        return DeviceMesh(grid, AXES, axis_types=types)


KIND = Mesh
"""The kind of objects that the names of this module build."""


def jit() -> Mesh:
    """Divides the batch; each device has all parameters."""
    return Mesh()


def fsdp() -> Mesh:
    """Divides the batch, and parameters, average and optimizer state as well."""
    return Mesh(data=1, fsdp=0)


def pmap() -> Mesh:
    """Divides the batch; the step is mapped over the devices, and its means are written out."""
    return Mesh(mapped=True)


def _check_rule(rule: Any) -> None:
    pair = isinstance(rule, tuple | list) and len(rule) == 2 and isinstance(rule[0], str)
    axes = rule[1] if pair else None
    if not isinstance(axes, tuple | list) or any(each not in (None, *AXES) for each in axes):
        raise ValueError(
            f"Mesh: rules has {rule!r}; a rule is a pattern and axes of {', '.join(AXES)} or None,"
            " such as ('out/kernel$', ('tensor', None))"
        )
