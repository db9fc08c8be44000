"""Graphs to begin with."""

from collections.abc import Callable, Mapping

from jaxdiff.studio.folders import Folders
from jaxdiff.studio.graph.graph import Graph, Link, Node


def text_to_image(folders: Folders) -> Graph:
    """Text to image: a picture from a prompt, by the first checkpoint that is there."""
    latents = Node("EmptyLatentImage", {"width": 512, "height": 512, "batch_size": 1})
    return _graph(folders, {"4": latents}, 1.0)


def image_to_image(folders: Folders) -> Graph:
    """Image to image: a picture drawn over, the more the higher `denoise` is."""
    image = next(iter(folders.listed("input")), "")
    return _graph(
        folders,
        {
            "8": Node("LoadImage", {"image": image}),
            "4": Node("VAEEncode", {"pixels": Link("8", 0), "vae": Link("1", 2)}),
        },
        0.6,
    )


STARTERS: Mapping[str, Callable[[Folders], Graph]] = {
    "text_to_image": text_to_image,
    "image_to_image": image_to_image,
}
"""By name; the first line of a docstring is a title and a description."""


def _graph(folders: Folders, latents: Mapping[str, Node], denoise: float) -> Graph:
    """Returns a graph from a checkpoint to a picture, from the latents of node 4."""
    sampler = {
        "model": Link("1", 0),
        "seed": 0,
        "steps": 20,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": Link("2", 0),
        "negative": Link("3", 0),
        "latent_image": Link("4", 0),
        "denoise": denoise,
    }
    return Graph(
        {
            "1": Node("CheckpointLoaderSimple", {"ckpt_name": _checkpoint(folders)}),
            "2": Node("CLIPTextEncode", {"text": "a red heart", "clip": Link("1", 1)}, "Prompt"),
            "3": Node("CLIPTextEncode", {"text": "", "clip": Link("1", 1)}, "Negative prompt"),
            **latents,
            "5": Node("KSampler", sampler),
            "6": Node("VAEDecode", {"samples": Link("5", 0), "vae": Link("1", 2)}),
            "7": Node("SaveImage", {"images": Link("6", 0), "filename_prefix": "jaxdiff"}),
        }
    )


def _checkpoint(folders: Folders) -> str:
    """Returns the name of the first released model; runs of one's own draw by other nodes."""
    names = folders.listed("checkpoints")
    is_run = lambda name: (folders.path("checkpoints", name) / "config.json").is_file()
    return next((name for name in names if not is_run(name)), "")
