"""What happens to a picture before it is saved or shown: a check, a mark, credentials, settings."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxdiff.studio import credentials, pixels, watermark
from jaxdiff.studio.credentials import Keys

Allows = Callable[[Any], bool]
"""Whether a picture [h, w, c] in [-1, 1] may be shown."""
MARK = "mark.txt"


def anything(picture: Any) -> bool:
    """Allows every picture."""
    return True


@dataclass(frozen=True)
class Finish:
    """Makes files of pictures.

    Attributes:
        allows: asked about each picture; a black one is put in the place of others.
        mark: the key of an invisible mark; "" for none.
        keys: of C2PA credentials; None for none.
    """

    allows: Allows = anything
    mark: str = ""
    keys: Keys | None = None

    @property
    def checks(self) -> bool:
        """Whether pictures are looked at: then nothing half-drawn is shown."""
        return self.allows is not anything

    def image(self, picture: Any) -> Image.Image:
        """Returns a picture [h, w, c], checked and marked."""
        if not self.allows(picture):
            picture = np.full_like(picture, -1.0)
        image = pixels.picture_of(picture)
        return watermark.marked(image, self.mark) if self.mark else image

    def png(self, picture: Any, texts: Mapping[str, str]) -> bytes:
        """Returns a PNG file with texts in it, signed if there are keys."""
        content = pixels.png_bytes(self.image(picture), texts)
        if self.keys is None:
            return content
        return credentials.signed(content, self.keys, "picture.png", texts)


def finish_in(
    folder: str | Path, *, mark: bool = False, sign: bool = False, allows: Allows = anything
) -> Finish:
    """Returns what finishes pictures with the keys of a folder; they are made at first use."""
    folder = Path(folder)
    key = ""
    if mark:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / MARK).is_file():
            (folder / MARK).touch(mode=0o600)
            (folder / MARK).write_text(secrets.token_hex(16))
        key = (folder / MARK).read_text().strip()
    return Finish(allows, key, credentials.keys_in(folder) if sign else None)


def found_in(content: bytes, finish: Finish) -> list[str]:
    """Returns sentences about the mark and the credentials in a picture's file."""
    image = pixels.opened(content, "picture")
    said = []
    if finish.mark:
        score = watermark.score(image, finish.mark)
        words = "has" if score >= watermark.THRESHOLD else "has not"
        said.append(
            f"It {words} this studio's mark (score {score:.1f}; {watermark.THRESHOLD} is enough)."
        )
    if finish.keys is not None:
        read = credentials.read(content)
        if read is None:
            said.append("It has no credentials.")
        else:
            state = "as it was signed" if read.intact else "changed after it was signed"
            said.append(f"Its credentials say that it is {state}.")
    return said
