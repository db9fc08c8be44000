"""Draws pictures with a released model, a folder or a file: docs/released.md says which open.

python experiments/generate.py --model=path/to/it --prompt="an astronaut riding a horse" \\
    --negative=blurry --steps=30 --solver=DPMpp2M --guidance_scale=7 --size=768x512 --num=4
python experiments/generate.py --model=path/to/it --prompt="a castle" --image=in.png --strength=0.6
python experiments/generate.py --model=path/to/it --prompt="a castle" --image=in.png --mask=mask.png
python experiments/generate.py --model=path/to/it --prompt="a castle" \\
    --controlnet=canny.safetensors:0.8 --control_image=edges.png --control_steps=0:0.5
python experiments/generate.py --model=path/to/dit --label=207,360 --num=2
python experiments/generate.py --model=path/to/wan --prompt="a cat walks" --frames=33 --out=out.mp4
python experiments/generate.py --model=path/to/wan-i2v --prompt="a cat walks" --image=in.png \\
    --frames=33 --out=out.mp4
python experiments/generate.py --again=out.png

A mask is white where the image is painted anew; all other pixels stay exactly. Each PNG holds its
settings: as other tools write them (`parameters`), and all flags (`jaxdiff`), from which --again
draws it anew; further flags change a setting. Clips are written without settings.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cli
import numpy as np
from absl import flags
from generate_flags import (
    PLAYING,
    clip_size,
    controls_of,
    labels_of,
    picture_of,
    regions_of,
    size_of,
    table_of,
)
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jaxdiff.data import images
from jaxdiff.evaluation.pictures import save_clips
from jaxdiff.files import atomic_write, check_writable
from jaxdiff.pipelines import infotext

cli.flag("model", cli.Text, None, "A diffusers folder, a .safetensors file, or a name on the hub.")
cli.flag("prompt", cli.Text, None, "What to draw.")
cli.flag("label", cli.Text, None, "The class of each picture, or one for all: 207,360.")
cli.flag("negative", cli.Text, None, "What guidance leads away from.")
cli.flag("steps", cli.Steps, None, "Solver steps; the model's by default.")
cli.flag("solver", cli.Text, None, 'Such as "DPMpp2M" or "DDIM(eta=1.0)"; the model\'s by default.')
cli.flag("timesteps", cli.Text, None, 'Such as "Karras(sigma_min=0.03, sigma_max=14.6)".')
cli.flag("guidance_scale", cli.Number, None, "How strong the guidance is; 1 for none.")
cli.flag("size", cli.Text, None, "Width and height in pixels, 768x512; the model's by default.")
cli.flag("frames", cli.Size, None, "Of a model of clips; the model's by default.")
cli.flag("num", cli.Size, 1, "Number of pictures; with several, out-0.png, out-1.png, ...")
cli.flag("seed", cli.Seed, 0, "Picture i of a seed is the same in any batch.")
cli.flag("first", cli.Count, 0, "The index of the first picture.")
cli.flag("batch_size", cli.Size, None, "Pictures at a time.")
cli.flag("image", cli.Text, None, "An image to begin from, or to keep where --mask is black.")
cli.flag("strength", cli.Share, None, "The share of the steps that is done from --image.")
cli.flag("mask", cli.Text, None, "White where --image is painted anew.")
cli.flag("depth", cli.Text, None, "A map of depth, lighter is nearer, for a model that reads it.")
flags.DEFINE_multi_string("region", [], "A prompt for a part of the picture; several.")
flags.DEFINE_multi_string("region_mask", [], "White where each holds, and its weight, a.png:0.8.")
flags.DEFINE_multi_string("lora", [], "An adapter and its weight, style.safetensors:0.8; several.")
flags.DEFINE_multi_string("embedding", [], "A word's file, style.safetensors, named as the word.")
flags.DEFINE_multi_string("controlnet", [], "A ControlNet and its strength, canny:0.8; several.")
flags.DEFINE_multi_string("control_image", [], "The map of each ControlNet, of the picture's size.")
flags.DEFINE_multi_string("control_steps", [], "The share of the steps at which each acts, 0:0.5.")
cli.flag("ip_adapter", cli.Text, None, "An IP-Adapter and its strength, adapter.safetensors:0.6.")
cli.flag("image_encoder", cli.Text, None, "The folder of the IP-Adapter's image encoder.")
cli.flag("image_prompt", cli.Text, None, "A picture that the IP-Adapter follows.")
flags.DEFINE_bool("emphasis", False, "Whether prompts have (weights:1.3), BREAK, [cat:dog:0.5].")
cli.flag("windows", cli.Size, None, "CLIP's windows that a prompt may fill, of 75 tokens each.")
cli.flag("clip_skip", cli.Count, None, "CLIP's last layers to skip, beyond the model's own.")
cli.flag("dtype", cli.Text, "float32", "float32 or bfloat16.")
cli.flag("config", cli.Text, None, "Of a single file: a diffusers folder with its settings.")
cli.flag("tokenizer", cli.Text, None, "Of a single file: the folder of CLIP's tokenizer.")
cli.flag("scheduler", cli.Text, None, "Fields of the scheduler, {'prediction_type': 'epsilon'}.")
cli.flag("again", cli.Text, None, "A picture whose settings are taken.")
cli.flag("out", cli.Text, "out.png", "A .png file; of clips, a .gif or .mp4 file.")
OWN = "jaxdiff"
"""The chunk of a PNG file that holds the flags."""

NAMES = (
    "model", "prompt", "label", "negative", "steps", "solver", "timesteps", "guidance_scale",
    "size", "frames", "num", "seed", "first", "batch_size", "image", "strength", "mask",
    "depth", "region", "region_mask", "lora", "embedding", "controlnet", "control_image",
    "control_steps", "ip_adapter", "image_encoder", "image_prompt", "emphasis", "windows",
    "clip_skip", "dtype", "config", "tokenizer", "scheduler",
)  # fmt: skip


def main() -> None:
    """Opens the model, draws and saves."""
    given = {name: cli.FLAGS[name].value for name in NAMES}
    if cli.FLAGS.again:
        chosen = {name: cli.FLAGS[name].value for name in NAMES if cli.FLAGS[name].present}
        given = {**given, **settings_in(Path(cli.FLAGS.again)), **chosen}
    if not given["model"]:
        raise ValueError("model: name a diffusers folder, a .safetensors file, or a hub name")
    out = Path(cli.FLAGS.out)
    if out.suffix not in (".png", *PLAYING):
        raise ValueError(f"out={out}: the file name must end in .png, or .gif or .mp4 for clips")
    check_writable(out)
    size = size_of(given["size"])
    image = picture_of("image", given["image"], 3, size)
    mask = picture_of("mask", given["mask"], 1, size)
    depth = picture_of("depth", given["depth"], 1, size)
    if mask is not None and image is None:
        raise ValueError("mask: give the image whose other pixels are kept")

    nets, maps, spans = controls_of(given, size)
    regions = regions_of(given, size)
    picture = picture_of("image_prompt", given["image_prompt"], 3, None)
    if given["ip_adapter"] and not given["image_encoder"]:
        raise ValueError("image_encoder: name the folder of the IP-Adapter's image encoder")
    if picture is not None and not given["ip_adapter"]:
        raise ValueError("image_prompt: name the IP-Adapter that reads it, --ip_adapter")
    if size is None:
        size = next((each.shape[:2] for each in [image, *maps, depth] if each is not None), None)
    from jaxdiff.tasks.controls import Map  # noqa: PLC0415 - takes seconds
    from jaxdiff.tasks.regions import Region  # noqa: PLC0415 - takes seconds

    pipeline = opened(given, [path for path, _ in nets])
    control = [
        Map((values + 1) / 2, strength, *span)
        for (_, strength), values, span in zip(nets, maps, spans, strict=True)
    ]
    cond: dict[str, Any] = {} if pipeline.parts.text is None else {"text": given["prompt"] or ""}
    if given["prompt"] and not cond:
        raise ValueError(f"prompt: {given['model']} reads no text")
    cond |= {} if given["label"] is None else {"label": labels_of(given["label"], given["num"])}
    if given["ip_adapter"]:
        path, weight = cli.weighted("ip_adapter", given["ip_adapter"])
        pipeline = pipeline.with_ip_adapter(path, given["image_encoder"], weight)
        cond |= {} if picture is None else {"image_prompt": picture}
    options = ("steps", "solver", "timesteps", "guidance_scale", "seed", "first", "batch_size")
    size = clip_size(pipeline.parts.size, size, given["frames"], out)
    pictures = pipeline.sample(
        given["num"],
        cond,
        negative=given["negative"] or None,
        size=size,
        image=image,
        strength=given["strength"],
        mask=None if mask is None else mask[..., 0] < 0,
        depth=None if depth is None else depth[..., 0],
        control=control or None,
        regions=[Region(*one) for one in regions],
        **{name: given[name] for name in options},
    )
    if out.suffix in PLAYING:
        save_clips(out, pictures)
        print(out)
        return
    for i, drawn in enumerate(pictures):
        file = out if given["num"] == 1 else out.with_stem(f"{out.stem}-{i}")
        label = {"label": str(cond["label"][i])} if "label" in cond else {}
        one = {**given, **label, "num": 1, "first": given["first"] + i}
        save(file, drawn, one, pipeline.parts.options)
        print(file)


def opened(given: Mapping[str, Any], controlnets: list[str]) -> Any:
    """Returns the model with its adapters, and the way in which it reads prompts."""
    from jaxdiff.pipelines import released  # noqa: PLC0415 - takes seconds

    pipeline = released(
        given["model"],
        dtype=given["dtype"],
        config=given["config"],
        tokenizer=given["tokenizer"],
        scheduler=table_of(given["scheduler"]),
        controlnet=controlnets,
    )
    for path, weight in [cli.weighted("lora", each) for each in given["lora"] or ()]:
        pipeline = pipeline.with_lora(path, weight)
    for path in given["embedding"] or ():
        pipeline = pipeline.with_embedding(path)
    if given["emphasis"] or given["windows"] or given["clip_skip"]:
        named = ("emphasis", "windows", "clip_skip")
        pipeline = pipeline.with_prompts(**{name: given[name] for name in named})
    return pipeline


def save(file: Path, picture: Any, given: Mapping[str, Any], defaults: Any) -> None:
    """Writes a picture [h, w, 3] in [-1, 1] with its settings."""
    pixels = np.round((np.clip(picture, -1, 1) + 1) * 127.5).astype(np.uint8)
    height, width = pixels.shape[:2]
    solver = str(given["solver"] or defaults.solver)
    fields = {
        "Steps": given["steps"] or defaults.steps,
        "Sampler": infotext.SAMPLERS.get(solver, solver),
        "CFG scale": f"{given['guidance_scale'] or defaults.guidance_scale:g}",
        "Seed": given["seed"],
        "Image index": given["first"] or None,
        "Size": f"{width}x{height}",
        "Model": Path(given["model"]).stem,
        "Denoising strength": given["strength"],
        "Version": OWN,
    }
    text = PngInfo()
    text.add_text(
        "parameters", infotext.written(given["prompt"] or "", given["negative"] or "", fields)
    )
    text.add_text(OWN, json.dumps({**given, "size": f"{width}x{height}"}))
    with atomic_write(file) as draft:
        images.to_pillow(pixels).save(draft, pnginfo=text)


def settings_in(file: Path) -> dict[str, Any]:
    """Returns the flags that a picture was drawn with.

    Raises:
        ValueError: there is no picture, or it holds no settings.
    """
    try:
        with Image.open(file) as picture:
            text = dict(picture.info)
    except OSError as error:
        raise ValueError(f"again={str(file)!r} is no picture that can be read: {error}") from None
    if OWN in text:
        found = json.loads(text[OWN])
        return {name: value for name, value in found.items() if name in NAMES}
    if "parameters" not in text:
        raise ValueError(f"again={str(file)!r} holds no settings: no chunk {OWN} or parameters")
    prompt, negative, fields = infotext.parsed(text["parameters"])
    read = {
        "Steps": ("steps", int),
        "Sampler": ("solver", infotext.solver_of),
        "CFG scale": ("guidance_scale", float),
        "Seed": ("seed", int),
        "Image index": ("first", int),
        "Size": ("size", str),
        "Denoising strength": ("strength", float),
    }
    known = {read[name][0]: read[name][1](value) for name, value in fields.items() if name in read}
    return {"prompt": prompt, "negative": negative, **known}


if __name__ == "__main__":
    cli.run(main)
