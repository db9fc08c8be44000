"""A released model in one file, its settings inferred or those of a diffusers folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxdiff.conditioning.encoders import ZeroTokens
from jaxdiff.pipelines import inferred, research
from jaxdiff.pipelines.families import SD3, T5_TOKENS
from jaxdiff.pipelines.folders import from_folder
from jaxdiff.pipelines.layouts import layout_of, sources_of
from jaxdiff.pipelines.parts import Parts
from jaxdiff.pretrained import open_tensors
from jaxdiff.weights.devices import Devices


def from_file(
    file: Path,
    dtype: str,
    devices: Devices,
    *,
    config: Path | None,
    tokenizer: str,
    scheduler: Mapping[str, Any],
) -> Parts:
    """Returns the parts of a released model in one file; reads no weights.

    Raises:
        ValueError: it is no model that can be read, or of another one than the folder `config`; a
            part is missing; the tokenizer is not found.
    """
    tensors = open_tensors(file)
    if research.is_research(tensors):
        return research.parts_of(file, tensors, dtype, devices, config, scheduler)
    layout = layout_of(tensors, repr(str(file)))
    if config is None:
        parts = inferred.parts_of(layout, tensors, file, dtype, devices, tokenizer, scheduler)
    else:
        parts = from_folder(config, dtype, devices, scheduler)
        if parts.family != layout.family.name:
            raise ValueError(
                f"{str(file)!r} is {layout.family.name}, but config={str(config)!r} is"
                f" {parts.family}"
            )
        if layout.family is SD3 and layout.encoders:
            parts = replace(parts, text=_as_in_files(parts, with_t5=len(layout.encoders) > 2))
    inside = sources_of(file, tensors, layout, parts.model.network, parts.text)
    return replace(parts, sources={**parts.sources, **inside})


def _as_in_files(parts: Parts, *, with_t5: bool) -> Any:
    """Returns the text encoder of Stable Diffusion 3 as single files have it.

    The vector of its first CLIP is not projected, and T5 may be absent.
    """
    first, t5 = parts.text.clip_l, parts.text.t5
    first = replace(first, settings=replace(first.settings, projection=None))
    absent = ZeroTokens(T5_TOKENS, parts.model.network.inputs.text_features)
    return replace(parts.text, clip_l=first, t5=t5 if with_t5 else absent)
