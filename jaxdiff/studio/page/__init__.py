"""The web page, of Gradio: a thin layer over the studio, each panel with the Python of the same."""

import os
from typing import Any

from jaxdiff.studio.service.studio import Studio

KEYS = """
<script>
document.addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    for (const button of document.querySelectorAll(".draws")) {
      if (button.offsetParent !== null) { button.click(); break; }
    }
  }
  if (event.key === "Escape") {
    for (const button of document.querySelectorAll(".stops")) {
      if (button.offsetParent !== null) { button.click(); break; }
    }
  }
});
</script>
"""
"""Ctrl+Enter draws, Escape interrupts."""
STYLE = "<style>.tab-container button { padding-inline: 9px !important; }</style>"
"""All names of panels fit beside each other on a page of 1280 pixels."""


def blocks(studio: Studio) -> Any:
    """Returns the page."""
    import gradio  # noqa: PLC0415 - takes seconds

    from jaxdiff.studio.page import (  # noqa: PLC0415
        drawing,
        graphs,
        models,
        pictures,
        plots,
        realtime,
        steering,
        training,
        video,
        votes,
    )

    with gradio.Blocks(title="jaxdiff studio", analytics_enabled=False) as page:
        with gradio.Row():
            gradio.Markdown("# jaxdiff studio")
            dark = gradio.Button("Dark mode", size="sm", scale=0)
            dark.click(None, js="() => { document.body.classList.toggle('dark'); }")
        with gradio.Tabs():
            for title, panel in {
                "Text to image": drawing.text_panel,
                "Image to image": drawing.image_panel,
                "Inpaint": drawing.paint_panel,
                "Control": steering.panel,
                "Video": video.panel,
                "Real time": realtime.panel,
                "X/Y/Z plot": plots.panel,
                "PNG info": pictures.info_panel,
                "Gallery": pictures.gallery_panel,
                "Graph": graphs.panel,
                "Adapters": models.adapters_panel,
                "Merge": models.merge_panel,
                "Train": training.panel,
                "Votes": votes.panel,
                "Runs": models.runs_panel,
            }.items():
                with gradio.Tab(title):
                    panel(studio)
    return page


def mounted(app: Any, studio: Studio) -> Any:
    """Returns the application with the page at its root."""
    # No word leaves this machine, and no address outside is asked for.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = os.environ.get("HF_HUB_OFFLINE", "1")
    import gradio  # noqa: PLC0415

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
    return gradio.mount_gradio_app(
        app,
        blocks(studio),
        path="/",
        footer_links=[],
        ssr_mode=False,
        show_error=True,
        max_file_size="32mb",
        theme=gradio.themes.Default(**fonts),
        head=KEYS + STYLE,
        blocked_paths=[str(studio.folders.root)],
    )
