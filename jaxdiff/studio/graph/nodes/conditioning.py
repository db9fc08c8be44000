"""Nodes that encode prompts, and that say where, when and how strongly a condition holds."""

import functools
from dataclasses import replace
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from jaxdiff.options import Between, Share
from jaxdiff.studio.graph.ports import Prepared
from jaxdiff.studio.graph.steering import Steering
from jaxdiff.studio.graph.values import (
    Clip,
    Conditioning,
    Control,
    Entry,
    Image,
    Mask,
    OfClip,
    Prompt,
    Vae,
    tokens_of,
)
from jaxdiff.typing import Condition

Pixels = Annotated[int, Between(0, 16384)]
Strong = Annotated[float, Between(0.0, 10.0)]


def _prompt_of(*names: str) -> Any:
    """Returns the annotation of a prompt for the encoders of these names."""
    read = lambda inputs, text: tokens_of(inputs["clip"], text, names)
    return Annotated[Any, Prepared("STRING", read)]


LetterL, LetterG, LetterT5 = _prompt_of("clip_l"), _prompt_of("bigg"), _prompt_of("t5")


@functools.partial(jax.jit, static_argnames="encoder")
def _encoded(encoder: Any, params: Any, tokens: Any) -> Condition:
    return encoder.encode(params, tokens)


def _entry(clip: OfClip, tokens: Any, **options: Any) -> tuple[Entry, ...]:
    return (Entry(_encoded(clip.encoder, clip.params, tokens), **options),)


def CLIPTextEncode(*, text: Prompt, clip: Clip) -> Conditioning:
    """A prompt, encoded."""
    return _entry(clip, tokens_of(clip, text))


def CLIPTextEncodeSDXL(
    *,
    clip: Clip,
    width: Pixels = 1024,
    height: Pixels = 1024,
    crop_w: Pixels = 0,
    crop_h: Pixels = 0,
    target_width: Pixels = 1024,
    target_height: Pixels = 1024,
    text_g: LetterG,
    text_l: LetterL,
) -> Conditioning:
    """Two prompts for SDXL's encoders, and the six numbers that its network reads."""
    tokens = {**tokens_of(clip, text_l, ["clip_l"]), **tokens_of(clip, text_g, ["bigg"])}
    numbers = [height, width, crop_h, crop_w, target_height, target_width]
    return _entry(clip, tokens, size=jnp.asarray([numbers], jnp.float32))


def CLIPTextEncodeSDXLRefiner(
    *,
    ascore: Annotated[float, Between(0.0, 1000.0)] = 6.0,
    width: Pixels = 1024,
    height: Pixels = 1024,
    text: Prompt,
    clip: Clip,
) -> Conditioning:
    """A prompt for SDXL's refiner, and the size and the aesthetic score that its network reads."""
    size, score = [[height, width, 0, 0]], [[ascore]]
    options = {"size": jnp.asarray(size, jnp.float32), "score": jnp.asarray(score, jnp.float32)}
    return _entry(clip, tokens_of(clip, text), **options)


def CLIPTextEncodeSD3(
    *,
    clip: Clip,
    clip_l: LetterL,
    clip_g: LetterG,
    t5xxl: LetterT5,
    empty_padding: Literal["none", "empty_prompt"] = "none",
) -> Conditioning:
    """Three prompts for Stable Diffusion 3's encoders."""
    texts = {"clip_l": clip_l, "bigg": clip_g, "t5": t5xxl}
    tokens = {}
    for name, text in texts.items():
        tokens |= tokens_of(clip, text, [name])
    return _entry(clip, tokens)


def CLIPSetLastLayer(clip: Clip, stop_at_clip_layer: Annotated[int, Between(-24, -1)] = -1) -> Clip:
    """The layer of CLIP whose states are read; -1 is the last, -2 the one before."""
    encoder, skip = clip.encoder, -1 - stop_at_clip_layer
    skipped = lambda part: replace(part, settings=replace(part.settings, clip_skip=skip))
    if not hasattr(encoder, "each"):
        return OfClip(skipped(encoder), clip.params)
    parts = encoder.each().items()
    clips = {name: part for name, part in parts if hasattr(part, "settings") and name != "t5"}
    changed = {name: skipped(part) for name, part in clips.items()}
    return OfClip(replace(encoder, **changed), clip.params)


def ConditioningCombine(conditioning_1: Conditioning, conditioning_2: Conditioning) -> Conditioning:
    """Two conditions, whose predictions are averaged."""
    return (*conditioning_1, *conditioning_2)


def ConditioningConcat(
    conditioning_to: Conditioning, conditioning_from: Conditioning
) -> Conditioning:
    """The tokens of a second prompt after those of each first one."""
    added = conditioning_from[0].text
    return tuple(replace(each, text=_joined(each.text, added)) for each in conditioning_to)


def _joined(text: Condition, added: Condition) -> Condition:
    join = lambda a, b: None if a is None else jnp.concatenate([a, b], axis=1)
    return replace(text, value=join(text.value, added.value), mask=join(text.mask, added.mask))


def ConditioningAverage(
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: Share = 1.0,
) -> Conditioning:
    """The encodings of two prompts, averaged."""
    other, share = conditioning_from[0].text, conditioning_to_strength
    mix = lambda a, b: None if a is None or b is None else share * a + (1 - share) * b
    return tuple(
        replace(
            each,
            text=replace(
                each.text,
                value=mix(each.text.value, other.value),
                pooled=mix(each.text.pooled, other.pooled),
            ),
        )
        for each in conditioning_to
    )


def ConditioningZeroOut(conditioning: Conditioning) -> Conditioning:
    """Zeros in place of an encoding."""
    zeros = lambda a: None if a is None else jnp.zeros_like(a)
    return tuple(
        replace(
            each,
            text=replace(each.text, value=zeros(each.text.value), pooled=zeros(each.text.pooled)),
        )
        for each in conditioning
    )


def ConditioningSetArea(
    conditioning: Conditioning,
    width: Pixels = 64,
    height: Pixels = 64,
    x: Pixels = 0,
    y: Pixels = 0,
    strength: Strong = 1.0,
) -> Conditioning:
    """A condition for a rectangle of the picture, in pixels; the network sees nothing beside it."""
    area = (x, y, width, height)
    return tuple(replace(each, area=area, strength=strength) for each in conditioning)


def ConditioningSetAreaPercentage(
    conditioning: Conditioning,
    width: Share = 1.0,
    height: Share = 1.0,
    x: Share = 0.0,
    y: Share = 0.0,
    strength: Strong = 1.0,
) -> Conditioning:
    """A condition for a rectangle, in shares of the picture."""
    area = (x, y, width, height)
    return tuple(replace(each, area=area, strength=strength) for each in conditioning)


def ConditioningSetMask(
    conditioning: Conditioning,
    mask: Mask,
    strength: Strong = 1.0,
    set_cond_area: Literal["default", "mask bounds"] = "default",
) -> Conditioning:
    """A condition where a mask is; the network sees the whole picture."""
    if set_cond_area != "default":
        raise ValueError("ConditioningSetMask: set_cond_area='mask bounds' is not here")
    return tuple(replace(each, mask=mask, strength=strength) for each in conditioning)


def ConditioningSetTimestepRange(
    conditioning: Conditioning, start: Share = 0.0, end: Share = 1.0
) -> Conditioning:
    """A condition for a part of the sampling: 0 is its beginning, in noise, 1 its end."""
    return tuple(replace(each, span=(start, end)) for each in conditioning)


def ControlNetApply(
    *, conditioning: Conditioning, control_net: Control, image: Image, strength: Strong = 1.0
) -> Conditioning:
    """A condition with a picture that a ControlNet reads."""
    return _steered(conditioning, Steering(control_net, image, strength))


def ControlNetApplyAdvanced(
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: Control,
    image: Image,
    strength: Strong = 1.0,
    start_percent: Share = 0.0,
    end_percent: Share = 1.0,
    vae: Vae | None = None,
) -> tuple[Conditioning, Conditioning]:
    """Conditions with a picture that a ControlNet reads, for a part of the sampling."""
    if strength == 0 or start_percent >= end_percent:
        return positive, negative
    steering = Steering(control_net, image, strength, start_percent, end_percent)
    return _steered(positive, steering), _steered(negative, steering)


def ControlNetApplySD3(
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: Control,
    vae: Vae,
    image: Image,
    strength: Strong = 1.0,
    start_percent: Share = 0.0,
    end_percent: Share = 1.0,
) -> tuple[Conditioning, Conditioning]:
    """Conditions with a picture that a ControlNet of Stable Diffusion 3 reads.

    Raises:
        ValueError: ControlNets steer U-Nets here.
    """
    raise ValueError("ControlNets of Stable Diffusion 3 are not here, only those of U-Nets")


def _steered(conditioning: Conditioning, steering: Steering) -> Conditioning:
    return tuple(replace(each, control=(*each.control, steering)) for each in conditioning)
