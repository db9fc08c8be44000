"""The config.json of a released network, read field by field so that none is ignored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdiff.files import read_json

IGNORED = {
    "addition_embed_type_num_heads",
    "force_upcast",
    "norm_num_groups",
    "num_embeds_ada_norm",
    "num_train_timesteps",
    "rope_max_seq_len",
    "sample_size",
    "scale_factor_spatial",
    "scale_factor_temporal",
    "upcast_attention",
    "use_linear_projection",
}
"""Fields without effect on the output, or only on its precision or on the layout of the file."""


def read_config(file: Path) -> dict[str, Any]:
    """Returns the fields of a config.json.

    Raises:
        ValueError: there is no such file, or it is no JSON object.
    """
    return read_json(file, dict)


class Config:
    """The fields of a config.json; errors name `file`."""

    def __init__(self, fields: Mapping[str, Any], file: str):
        self._fields, self._file = dict(fields), file
        self._unread = {name for name in fields if not name.startswith("_")}

    def get(self, name: str, default: Any = None) -> Any:
        """Returns a field, a list as a tuple, or `default` where the field is absent."""
        self._unread.discard(name)
        value = self._fields.get(name, default)
        return tuple(value) if isinstance(value, list) else value

    def implied(self, **fields: Any) -> "Config":
        """Returns a config with further fields, which the class of this one implies."""
        return Config({**fields, **self._fields}, self._file)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def need(self, name: str, kind: type | tuple[type, ...] = int) -> Any:
        """Returns a field that must be present.

        Raises:
            ValueError: it is absent, or of another type.
        """
        value = self.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            names = [each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,))]
            raise self.error(name, value, f"must be of type {' or '.join(names)}")
        return value

    def only(self, **expected: Any) -> None:
        """Checks fields that may have one value only; an absent field has it.

        Raises:
            ValueError: a field has another value.
        """
        for name, value in expected.items():
            if (found := self.get(name, value)) != value:
                raise self.error(name, found, f"only {value!r} can be expressed")

    def error(self, name: str, value: Any, reason: str) -> ValueError:
        """Returns an error that names the file, the field and its value."""
        return ValueError(f"{self._file!r}: {name}={value!r}: {reason}")

    def finish(self) -> None:
        """Checks that every field was read, is in `IGNORED`, or is off (null, false or empty).

        Raises:
            ValueError: an unknown field has a value.
        """
        for name in sorted(self._unread - IGNORED):
            if self._fields[name] not in (None, False, [], {}):
                raise self.error(name, self._fields[name], "this field is not known")


def mirrored(config: Config, attending: Sequence[str], plain: Sequence[str]) -> list[bool]:
    """Returns for each level whether it has attention; the way up must be that down, reversed."""
    down, up = config.need("down_block_types", tuple), config.need("up_block_types", tuple)
    for names, option in ((down, "down_block_types"), (up, "up_block_types")):
        known = {
            name.replace("Down", "Up").replace("downs", "ups") for name in (*attending, *plain)
        }
        known = known if names is up else {*attending, *plain}
        if other := [name for name in names if name not in known]:
            raise config.error(option, names, f"{other[0]} cannot be expressed")
    mirrored = [name.replace("Up", "Down") for name in reversed(up)]
    attends = [name in attending for name in down]
    if len(up) != len(down) or [name in attending for name in mirrored] != attends:
        raise config.error("up_block_types", up, f"must mirror down_block_types={down!r}")
    if len(down) != len(config.need("block_out_channels", tuple)):
        raise config.error("down_block_types", down, "must have one block for each width")
    return attends


def square(config: Config, size: Any, least: int) -> tuple[int, int, int]:
    """Returns the shape of square data: of the size, where it is one number, or of the least."""
    side = size if isinstance(size, int) else least
    return side, side, config.need("in_channels")
