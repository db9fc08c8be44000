"""Words of prompts that are drawn by lot, and styles that are put around a prompt.

    "a __colour__ cat", "a {red|blue} cat"

A file wildcards/colour.txt has a word a line. The draw is that of a seed, the same each time.
"""

import re
from pathlib import Path

import numpy as np

from jaxdiff.studio.folders import inside

CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")
WILDCARD = re.compile(r"__([\w/-]+)__")
DEEPEST = 10


def drawn(prompt: str, seed: int, folder: str | Path | None = None) -> str:
    """Returns the prompt with its choices made by a seed.

    Raises:
        ValueError: there is no file of a wildcard, or it is empty.
    """
    generator = np.random.default_rng(seed)
    pick = lambda options: options[int(generator.integers(len(options)))]
    for _ in range(DEEPEST):
        before = prompt
        prompt = CHOICE.sub(lambda match: pick(match[1].split("|")).strip(), prompt)
        prompt = WILDCARD.sub(lambda match: pick(lines(folder, match[1])), prompt)
        if prompt == before:
            break
    return prompt


def lines(folder: str | Path | None, name: str) -> list[str]:
    """Returns the words of a wildcard's file.

    Raises:
        ValueError: it is not there, or empty.
    """
    path = None if folder is None else inside(folder, f"{name}.txt")
    if path is None or not path.is_file():
        raise ValueError(f"__{name}__: there is no file {name}.txt of wildcards")
    words = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    words = [line for line in words if line and not line.startswith("#")]
    if not words:
        raise ValueError(f"__{name}__: {name}.txt is empty")
    return words


def styled(prompt: str, style: str) -> str:
    """Returns a prompt within a style: in place of "{prompt}", or before the style's words."""
    if not style.strip():
        return prompt
    return style.replace("{prompt}", prompt) if "{prompt}" in style else f"{prompt}, {style}"
