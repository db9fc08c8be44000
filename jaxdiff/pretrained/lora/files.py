"""The modules in a file of adapters: whose weights each changes, and its factors.

Three ways of naming are in use: kohya's (`lora_unet_down_blocks_0_...`, dots as underscores), that
of diffusers and PEFT (`unet.down_blocks.0....lora_A.weight`), and that of the model's own keys
(`diffusion_model.input_blocks.4....`).
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdiff.pretrained.files import Stored

NETWORK = "network"
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")

PREFIXES = {
    "lora_unet_": NETWORK,
    "lora_te_": ENCODERS[0],
    "lora_te1_": ENCODERS[0],
    "lora_te2_": ENCODERS[1],
    "lora_te3_": ENCODERS[2],
    "lycoris_": NETWORK,
    "unet.": NETWORK,
    "transformer.": NETWORK,
    "model.diffusion_model.": NETWORK,
    "diffusion_model.": NETWORK,
    "text_encoder.": ENCODERS[0],
    "text_encoder_2.": ENCODERS[1],
    "text_encoder_3.": ENCODERS[2],
    "base_model.model.": NETWORK,
}
"""The part of a model by the beginning of a key."""

FACTORS = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "alpha": "alpha",
    "dora_scale": "magnitude",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "lora_magnitude_vector.default.weight": "magnitude",
    **{f"hada_{name}": f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{
        f"lokr_{name}": f"lokr_{name}"
        for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")
    },
    "diff": "diff",
    "diff_b": "diff_b",
    "w_norm": "diff",
    "b_norm": "diff_b",
}
"""The role of a tensor by the end of its key."""

_END = re.compile(r"\.(" + "|".join(sorted(map(re.escape, FACTORS), key=len, reverse=True)) + ")$")
_OLD = re.compile(r"\.processor\.to_(q|k|v|out)_lora\.(down|up)\.weight$")
"""As diffusers wrote attention until version 0.17."""


class Module(NamedTuple):
    """A change of one module: the part of the model, its name there, its factors by role."""

    part: str
    name: str
    factors: Mapping[str, Stored]


def modules_of(tensors: Mapping[str, Stored], source: str) -> list[Module]:
    """Returns the modules in a file.

    Raises:
        ValueError: the file has none, or keys of a kind that is not known.
    """
    found: dict[str, dict[str, Stored]] = {}
    strange = []
    for key, tensor in tensors.items():
        if old := _OLD.search(key):
            place = "to_out.0" if old[1] == "out" else f"to_{old[1]}"
            found.setdefault(f"{key[: old.start()]}.{place}", {})[old[2]] = tensor
        elif end := _END.search(key):
            found.setdefault(key[: end.start()], {})[FACTORS[end[1]]] = tensor
        else:
            strange.append(key)
    if strange or not found:
        what = f"{len(strange)} keys of an unknown kind: {', '.join(strange[:3])}"
        raise ValueError(
            f"{source} has {what if strange else 'no keys'}; LoRA, LoCon, LoHa, LoKr, DoRA and"
            " whole differences can be read"
        )
    return [_module(name, factors) for name, factors in found.items()]


def scales_of(metadata: Mapping[str, str] | None) -> Mapping[str, Any]:
    """Returns PEFT's settings of a file's header, by part: rank and alpha, of modules too.

    Raises:
        ValueError: the header's text is not JSON.
    """
    text = (metadata or {}).get("lora_adapter_metadata")
    if not text:
        return {}
    try:
        fields = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(f"lora_adapter_metadata is not JSON: {error}") from None
    parts: dict[str, dict[str, Any]] = {}
    for name, value in fields.items():
        part, _, option = name.partition(".")
        part = NETWORK if part in ("unet", "transformer") else part
        parts.setdefault(part, {})[option] = value
    return parts


def alpha_of(settings: Mapping[str, Any], name: str) -> float | None:
    """Returns the alpha of a module in PEFT's settings of its part; None where they say nothing."""
    if "lora_alpha" not in settings:
        return None
    for pattern, alpha in (settings.get("alpha_pattern") or {}).items():
        if name == pattern or name.endswith(f".{pattern}") or re.fullmatch(pattern, name):
            return float(alpha)
    return float(settings["lora_alpha"])


def _module(name: str, factors: Mapping[str, Stored]) -> Module:
    for prefix in sorted(PREFIXES, key=len, reverse=True):
        if name.startswith(prefix):
            return Module(PREFIXES[prefix], name.removeprefix(prefix), factors)
    return Module(NETWORK, name, factors)
