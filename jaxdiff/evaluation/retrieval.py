"""Evaluators that ask whether an image and its text find each other among others."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdiff.options import Size

HeldOut = Callable[[int], Mapping[str, np.ndarray]]
"""Returns some held-out examples by field: images "x" and their "text"."""


@dataclass(frozen=True)
class Retrieval:
    """How often a contrastive encoder finds the text of a held-out image among `among` texts.

    And the image of a text among as many images. The `num` examples go in groups of `among`, one
    after another; by chance one in `among` is right.
    """

    draw: Any
    held_out: HeldOut
    num: Size = 1000
    among: Size = 100

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "text_of_image" and "image_of_text", shares in [0, 1].

        Raises:
            ValueError: there are fewer than `among` examples, or the data have no texts.
        """
        images, texts = pairs(self.held_out, self.num, self.among, "Retrieval")
        found = self.draw.embed(weights, images), self.draw.embed_text(weights, texts)
        yield "text_of_image", found_share(*found, self.among)
        yield "image_of_text", found_share(*found[::-1], self.among)


@dataclass(frozen=True)
class PromptRetrieval:
    """How often the prompt of a sample is found among `among` prompts, held-out captions.

    A contrastive encoder finds them, a run of the task `Contrastive` with texts. The same share for
    the real images of these captions is yielded, too.

    Attributes:
        encoder: the run's folder.
    """

    draw: Any
    held_out: HeldOut
    embedder: Callable[[str], Any]
    encoder: str
    num: Size = 1000
    among: Size = 100

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "prompt_of_sample" and "prompt_of_real_image", shares in [0, 1].

        Raises:
            ValueError: there are fewer than `among` examples, the data have no texts, or `encoder`
                names no run of an encoder of texts.
        """
        images, texts = pairs(self.held_out, self.num, self.among, "PromptRetrieval")
        embed, embed_text = self.embedder(self.encoder)
        wanted = embed_text(texts)
        samples = self.draw(weights, len(texts), {"text": texts})
        yield "prompt_of_sample", found_share(embed(samples), wanted, self.among)
        yield "prompt_of_real_image", found_share(embed(images), wanted, self.among)


def pairs(
    held_out: HeldOut, num: int, among: int, name: str
) -> tuple[Float[np.ndarray, "n *shape"], list[str]]:
    """Returns held-out images and their texts, in whole groups of `among`.

    Raises:
        ValueError: there are fewer than `among` examples, or the data have no texts.
    """
    found = held_out(num)
    count = len(found["x"]) // among * among
    if "text" not in found or not count:
        raise ValueError(
            f"{name}.among={among}: needs as many held-out images with texts; there are"
            f" {len(found['x'])} examples of {', '.join(found)}"
        )
    return found["x"][:count], [str(text) for text in found["text"][:count]]


def found_share(
    of: Float[np.ndarray, "n d"], wanted: Float[np.ndarray, "n d"], among: int
) -> float:
    """Returns how often the nearest of `among` embeddings, by their angle, is the own one."""
    unit = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)
    a, b = (unit(z).reshape(-1, among, z.shape[1]) for z in (of, wanted))
    nearest = np.einsum("gid,gjd->gij", a, b).argmax(2)
    return float((nearest == np.arange(among)).mean())
