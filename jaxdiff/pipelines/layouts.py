"""A whole model in one file, in the layout of its authors: which it is, and where its parts are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxdiff.networks.dit import MMDiT
from jaxdiff.pipelines.families import SD, SD3, SDXL, Family
from jaxdiff.pretrained import fingerprint, to_ours
from jaxdiff.pretrained.positions import check_positions
from jaxdiff.pretrained.rules import Table, compiled, skip
from jaxdiff.pretrained.tables import autoencoder, original, text
from jaxdiff.typing import Params

Tensors = Mapping[str, Any]

NETWORK = "model.diffusion_model."
CODECS = ("first_stage_model.", "vae.")
CLIP_HF, CLIP_OPEN = "cond_stage_model.transformer.", "cond_stage_model.model."
SDXL_ENCODERS = ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")
REFINER_ENCODERS = ("conditioner.embedders.0.model.",)
SD3_ENCODERS = tuple(f"text_encoders.{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl"))

IGNORED = skip(
    "model_ema.*",
    "betas",
    "alphas_cumprod*",
    "sqrt_*",
    "log_one_minus_alphas_cumprod",
    "posterior_*",
    "logvar",
    "denoiser.*",
    "scale_factor",
    "text_encoders.*.logit_scale",
    "cond_stage_model.logit_scale",
)
"""Keys of training and of schedules, which no part reads."""


class Layout(NamedTuple):
    """The family of a file, and the beginnings of its parts' keys; "" or () for an absent part."""

    family: Family
    encoders: tuple[str, ...]
    codec: str


def layout_of(tensors: Tensors, name: str) -> Layout:
    """Returns which model a file of this name holds, by its keys.

    Raises:
        ValueError: it is none that can be read, or keys belong to no part of it.
    """
    has = lambda prefix: any(key.startswith(prefix) for key in tensors)
    found = lambda *prefixes: tuple(prefix for prefix in prefixes if has(prefix))
    codec = next(iter(found(*CODECS)), "")
    if has(f"{NETWORK}joint_blocks.0.context_block."):
        layout = Layout(SD3, found(*SD3_ENCODERS), codec)
    elif has(f"{NETWORK}label_emb."):
        refines = has(REFINER_ENCODERS[0])
        layout = Layout(SDXL, found(*(REFINER_ENCODERS if refines else SDXL_ENCODERS)), codec)
    elif has(f"{NETWORK}input_blocks.0.0."):
        layout = Layout(SD, found(CLIP_HF, CLIP_OPEN), codec)
    else:
        raise ValueError(
            f"{name} is no model that can be read: it has no key {NETWORK}input_blocks.0.0.*"
            f" (Stable Diffusion, SDXL) or {NETWORK}joint_blocks.0.* (Stable Diffusion 3), but"
            f" {', '.join(sorted(tensors)[:3])}, ..."
        )
    prefixes = tuple(filter(None, (NETWORK, codec, *layout.encoders)))
    known = [compiled(pattern) for entry in IGNORED for pattern in entry.theirs]
    rest = [key for key in tensors if not key.startswith(prefixes)]
    if strange := [key for key in rest if not any(one.fullmatch(key) for one in known)]:
        raise ValueError(
            f"{name}: {len(strange)} keys belong to no part of {layout.family.name}:"
            f" {', '.join(strange[:5])}"
        )
    return layout


def under(tensors: Tensors, prefix: str) -> dict[str, Any]:
    """Returns the tensors whose keys begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class Piece(NamedTuple):
    """A part of a file: the beginning of its keys, and the table of the rest of them."""

    prefix: str
    table: Table


@dataclass(frozen=True)
class InFile:
    """The source of weights whose pieces lie in one file.

    `pieces` maps the path of a piece in the tree of weights, () for the whole, to its place.
    `prompt` returns the tokens of the empty prompt, which stand beside the weights of encoders.
    """

    file: Path
    tensors: Tensors
    pieces: Mapping[tuple[str, ...], Piece]
    prompt: Callable[[], Any] | None = None

    def load(self, target: Params) -> Params:
        """Returns the weights like `target`.

        Raises:
            ValueError: keys are missing, unknown, or of another shape.
        """
        if self.prompt is None:
            return self._read((), target)
        put = lambda value, like: jax.device_put(value, getattr(like, "sharding", None))
        empty = jax.tree.map(put, self.prompt(), target["empty"])
        return {"network": self._read((), target["network"]), "empty": empty}

    def fingerprint(self) -> str:
        """Returns a hash of the file."""
        return fingerprint(self.file)

    def _read(self, path: tuple[str, ...], target: Params) -> Params:
        if path not in self.pieces:
            return {name: self._read((*path, name), part) for name, part in target.items()}
        prefix, table = self.pieces[path]
        name = f"{str(self.file)!r}, {prefix}*,"
        return to_ours(table, under(self.tensors, prefix), target, source=name)


def sources_of(
    file: Path, tensors: Tensors, layout: Layout, network: Any, encoder: Any
) -> dict[str, InFile]:
    """Returns the sources of a pipeline's weights that are in a file."""
    source = lambda pieces, prompt=None: InFile(file, tensors, pieces, prompt)
    table = network_table(network, under(tensors, NETWORK))
    check_positions(network, tensors.get(f"{NETWORK}pos_embed"), repr(str(file)))
    sources = {"network": source({(): Piece(NETWORK, table)})}
    if layout.codec:
        sources["codec"] = source({(): Piece(layout.codec, autoencoder.ldm_autoencoder())})
    if layout.encoders:
        names = [(name,) for name in encoder.each()] if hasattr(encoder, "each") else [()]
        pieces = {
            name: Piece(prefix, text_table(under(tensors, prefix)))
            for name, prefix in zip(names, layout.encoders, strict=False)
        }
        sources["text"] = source(pieces, lambda: encoder.prepare([""]))
    return sources


def network_table(network: Any, tensors: Tensors) -> Table:
    """Returns the table between a network and its authors' names."""
    if isinstance(network, MMDiT):
        return original.mmdit(network.depth, network.patch[-1], network.dual_depth)
    inner = [key for key in tensors if key.endswith("proj_in.weight")]
    linear = all(len(tensors[key].shape) == 2 for key in inner)
    return original.unet(
        network.transformer_depth, network.layers_per_block, linear_projection=linear
    )


def text_table(tensors: Tensors) -> Table:
    """Returns the table of a text encoder by its keys."""
    if "token_embedding.weight" in tensors:
        # Stable Diffusion 2 leaves the last layer out.
        return (*text.open_clip_text(), *skip("transformer.resblocks.23.*"))
    if "encoder.final_layer_norm.weight" in tensors:
        return text.t5("shared" if "shared.weight" in tensors else "encoder.embed_tokens")
    return text.clip_text()
