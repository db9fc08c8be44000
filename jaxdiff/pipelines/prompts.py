"""How a pipeline reads prompts: weights and breaks, further windows, skipped layers, changes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxdiff.conditioning.emphasis import phases
from jaxdiff.conditioning.text_encoder import TextEncoder
from jaxdiff.networks.text.clip import CLIPTextSettings
from jaxdiff.tasks.regions import Region

SKIPPED = {"StableDiffusionXL": 1, "StableDiffusion3": 1}
"""The last layers that the text encoders of a family skip in any case."""


def reading(
    text: Any,
    family: str,
    *,
    emphasis: bool | None = None,
    windows: int | None = None,
    clip_skip: int | None = None,
) -> Any:
    """Returns a text encoder, of one network or of several, that reads prompts otherwise.

    Raises:
        ValueError: an option is out of range.
    """
    if not isinstance(text, TextEncoder):
        options = {"emphasis": emphasis, "windows": windows, "clip_skip": clip_skip}
        parts = {n: p for n, p in text.each().items() if isinstance(p, TextEncoder)}
        changed = {n: reading(part, family, **options) for n, part in parts.items()}
        return replace(text, **changed)
    changes: dict[str, Any] = {} if emphasis is None else {"emphasis": emphasis}
    if isinstance(text.settings, CLIPTextSettings):
        changes |= {} if windows is None else {"windows": windows}
        if clip_skip is not None:
            skipped = SKIPPED.get(family, 0) + clip_skip
            changes["settings"] = replace(text.settings, clip_skip=skipped)
    return replace(text, **changes)


def reads_emphasis(text: Any) -> bool:
    """Returns whether prompts have weights, breaks and changes."""
    if text is None:
        return False
    if isinstance(text, TextEncoder):
        return text.emphasis
    return any(getattr(part, "emphasis", False) for part in text.each().values())


def later_of(text: Any, cond: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Returns the conditions of the first step, and those that come later, with their shares.

    Raises:
        ValueError: a change of a prompt is not between 0 and 1.
    """
    prompts = cond.get("text")
    if prompts is None or not reads_emphasis(text):
        return dict(cond), []
    alone = isinstance(prompts, str)
    each = [dict(phases(prompt)) for prompt in ([prompts] if alone else prompts)]
    shares = sorted({share for found in each for share in found})
    at = lambda share: [found[max(s for s in found if s <= share)] for found in each]
    texts = {share: at(share)[0] if alone else at(share) for share in shares}
    first = {**cond, "text": texts.pop(0.0)}
    return first, [(share, {"text": text}) for share, text in texts.items()]


def read_regions(text: Any, regions: Sequence[Region]) -> list[Region]:
    """Returns regions whose prompts are those of all steps.

    Raises:
        ValueError: a prompt changes at a share of the steps.
    """
    each = [later_of(text, one.conditions) for one in regions]
    if any(later for _, later in each):
        raise ValueError("regions: a prompt of a region cannot change on the way, [cat:dog:0.5]")
    return [replace(one, cond=first) for one, (first, _) in zip(regions, each, strict=True)]
