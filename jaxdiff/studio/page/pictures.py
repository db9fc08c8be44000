"""The panels of pictures that are there: their settings, and the gallery."""

from typing import Any

import gradio

from jaxdiff.pipelines import infotext
from jaxdiff.studio import gallery, pixels
from jaxdiff.studio.page.parts import sheet
from jaxdiff.studio.provenance import found_in
from jaxdiff.studio.service.studio import Studio


def info_panel(studio: Studio) -> None:
    """PNG info: drop a picture, get its settings."""
    with gradio.Row():
        file = gradio.File(label="Picture", file_types=["image"], type="binary")
        with gradio.Column():
            text = gradio.Textbox(label="Text in the file", lines=6, buttons=["copy"])
            table = gradio.Dataframe(headers=["field", "value"], label="Settings", wrap=True)
            said = gradio.Markdown("")

    def run(content: bytes | None) -> tuple[Any, ...]:
        text, rows = read(content)
        about = found_in(content, studio.finish) if content else []
        return text, rows, " ".join(about)

    file.upload(run, file, [text, table, said])


def read(content: bytes | None) -> tuple[str, list[list[str]]]:
    """Returns the text of settings in a picture's file, and its fields.

    Raises:
        gradio.Error: it is no picture.
    """
    if content is None:
        return "", []
    try:
        image = pixels.opened(content, "picture")
    except ValueError as error:
        raise gradio.Error(str(error)) from None
    text = image.info.get("parameters", "")
    if not text:
        other = image.info.get("prompt") or image.info.get("workflow")
        return other or "no settings are in this file", []
    found = infotext.parsed(text)
    fields = {"Prompt": found.prompt, "Negative prompt": found.negative, **found.fields}
    return text, [[name, value] for name, value in fields.items()]


def gallery_panel(studio: Studio) -> None:
    """Gallery: pictures that were saved, searched in their settings."""
    words = gradio.Textbox(label="Search in settings", placeholder="euler red cat")
    refresh = gradio.Button("Show")
    shown = sheet("Pictures", 6)

    def find(text: str) -> list[tuple[Any, str]]:
        found = gallery.search(studio.folders, text or "")
        return [
            (pixels.opened(each.path, each.name), f"{each.name}\n{each.text}") for each in found
        ]

    words.submit(find, words, shown)
    refresh.click(find, words, shown)
