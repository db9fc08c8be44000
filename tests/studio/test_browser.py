"""The page as a person uses it, in Chromium; pictures of it go to $SCREENSHOTS, if that is set."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from jaxdiff.runs.publish import publish
from jaxdiff.studio.folders import Folders
from jaxdiff.studio.service import editor
from tests.support.clips import clips_run
from tests.support.control import write_control
from tests.support.forked import environment
from tests.support.released import write_sd

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
PRETRAINED = Path(__file__).parents[2] / "pretrained"
STUDENT, STEERED = PRETRAINED / "fashion_mnist_student", PRETRAINED / "scenes_control"
PATIENCE = 600_000
"""Milliseconds, for machines on which others compute too."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The command as a person types it, in a process without the checks of tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = tmp_path_factory.mktemp("browser")
    clips, studio = root / "clips", Folders(root / "studio").made()
    publish(clips_run(), clips)
    write_sd(studio.folder("checkpoints") / "sd")
    write_control(studio.folder("controlnet") / "net")
    flags = [
        f"--model={STUDENT}",
        f"--model={STEERED}",
        f"--model={clips}",
        f"--folder={studio.root}",
    ]
    command = [sys.executable, "-m", "jaxdiff", "studio", *flags, f"--port={port}"]
    # Votes and trainings go below the folder in which the studio was begun.
    process = subprocess.Popen(command, cwd=root, env=environment())
    found = f"http://127.0.0.1:{port}"
    for _ in range(PATIENCE // 250):
        try:
            urllib.request.urlopen(f"{found}/healthz").read()
            break
        except OSError:
            assert process.poll() is None
            time.sleep(1)
    yield found
    process.terminate()
    process.wait(60)


@pytest.fixture(scope="module")
def page(address):
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = browser.new_page(viewport={"width": 1280, "height": 1000})
        found.set_default_timeout(PATIENCE)
        elsewhere = []
        found.on("request", lambda each: elsewhere.append(each.url))
        found.goto(address)
        found.elsewhere = lambda: [
            url for url in elsewhere if not url.startswith((address, "data:", "blob:"))
        ]
        found.get_by_role("tab", name="Text to image").wait_for()
        yield found
        browser.close()


def shot(page, name):
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(500)
        page.screenshot(path=f"{folder}/{name}.png")


def opened(page, title):
    tab = page.locator("button[role=tab]:visible").filter(has_text=re.compile(f"^{title}$"))
    if not tab.count():  # it has no room beside the others
        page.locator(".overflow-menu > button").first.click()
        tab = page.locator(".overflow-dropdown button").filter(has_text=re.compile(f"^{title}$"))
    tab.first.click()
    return page.get_by_role("tabpanel").filter(visible=True).last


def choose(page, panel, label, name):
    panel.get_by_label(label, exact=True).first.click()
    page.get_by_role("option", name=name, exact=True).click()


def stroke(page, panel):
    """Draws a line over the first map with the brush."""
    panel.locator("canvas").first.scroll_into_view_if_needed()
    box = panel.locator("canvas").first.bounding_box()
    at = lambda share: (box["x"] + share * box["width"], box["y"] + share * box["height"])
    page.mouse.move(*at(0.45))
    page.mouse.down()
    page.mouse.move(*at(0.5), steps=5)
    page.mouse.move(*at(0.55), steps=5)
    page.mouse.up()


def brightest(image):
    """Returns the largest value of red in a picture that is shown."""
    return image.evaluate("""async image => {
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const pen = canvas.getContext("2d");
        pen.drawImage(image, 0, 0);
        const found = pen.getImageData(0, 0, canvas.width, canvas.height).data;
        return Math.max(...found.filter((_, i) => i % 4 === 0));
    }""")


def test_votes(page):
    """Fails if a click is no vote."""
    panel = opened(page, "Votes")
    panel.get_by_label("Pairs").fill("2")
    panel.get_by_role("button", name="Draw pairs").click()
    panel.get_by_text("1 of 2").wait_for()
    shot(page, "votes")
    panel.get_by_role("button", name="Left is better").click()
    panel.get_by_text("2 of 2").wait_for()
    panel.get_by_role("button", name="Right is better").click()
    panel.get_by_text("No pair is left").wait_for()


def test_a_clip_plays(page):
    """Fails if the browser cannot decode the clip that the page shows."""
    panel = opened(page, "Video")
    choose(page, panel, "Model", "clips")
    panel.get_by_label("Prompt", exact=True).fill("3")
    panel.get_by_role("button", name="Draw").click()
    panel.locator("video").wait_for()
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    panel.get_by_text("video/jaxdiff_00001_.mp4").wait_for()
    shot(page, "video")


def test_a_line_is_drawn_as_a_map(page):
    """Fails if what the brush draws does not reach the map."""
    panel = opened(page, "Control")
    choose(page, panel, "Model", "sd")
    panel.get_by_label("Prompt", exact=True).fill("a red cat")
    choose(page, panel, "ControlNet (of a released model)", "net")
    stroke(page, panel)
    panel.get_by_role("button", name="Draw (Ctrl+Enter)").click()
    panel.get_by_text("drawn in").wait_for()
    shot(page, "control")
    assert brightest(panel.locator("img").last) > 100


def test_a_line_is_read_as_edges(page):
    """Fails if a network of several maps is not told which kind a drawing is."""
    panel = opened(page, "Control")
    choose(page, panel, "Model", "scenes_control")
    panel.get_by_label("Prompt", exact=True).fill("a red heart, on a white ground")
    panel.get_by_label("Steps (0: the model's own)").fill("6")
    choose(page, panel, "ControlNet (of a released model)", "the run's own")
    stroke(page, panel)
    choose(page, panel, "Read as (by a net of several maps)", "edges")
    panel.get_by_role("button", name="Draw (Ctrl+Enter)").click()
    panel.get_by_text("drawn in").wait_for()
    shot(page, "read_as")
    assert "edges" in panel.inner_text()


def test_each_panel_as_a_person_uses_it(page, address):
    """Fails if a panel does not open, a button does nothing, or the page asks other sites."""
    panel = opened(page, "Text to image")
    panel.get_by_label("Prompt", exact=True).fill("coat")
    panel.get_by_role("button", name="Draw").click()
    panel.get_by_text("drawn in").wait_for()
    shot(page, "text")
    page.keyboard.press("Control+Enter")
    panel = opened(page, "Real time")
    slider = panel.get_by_label("Between them").last
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    panel.get_by_text(" ms").first.wait_for()
    shot(page, "realtime")
    panel = opened(page, "X/Y/Z plot")
    panel.get_by_label("Prompt", exact=True).fill("boot")
    panel.get_by_label("X: values").fill("1, 2")
    panel.get_by_role("button", name="Draw").click()
    panel.get_by_text("6 pictures").wait_for()
    shot(page, "plot")
    panel = opened(page, "Gallery")
    panel.get_by_role("button", name="Show").click()
    panel.locator("img").first.wait_for()
    shot(page, "gallery")
    for title in ("Image to image", "Inpaint", "PNG info", "Graph", "Merge", "Train", "Runs"):
        opened(page, title)
        shot(page, title.lower().replace(" ", "_"))
    page.get_by_role("button", name="Dark mode").click()
    opened(page, "Text to image")
    shot(page, "dark")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.elsewhere() == []


def test_what_axe_finds_serious(page):
    """Fails if a control of ours has no name; colours are Gradio's."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.set_viewport_size({"width": 1280, "height": 1000})
    opened(page, "Text to image")
    found = axe.run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    print([(each["id"], each["impact"], len(each["nodes"])) for each in found])
    assert not {each["id"] for each in serious} & {"label", "button-name", "image-alt"}


@pytest.mark.skipif(not editor.installed(), reason="the editor's package is not installed")
def test_a_graph_is_drawn_by_the_editor(page, address):
    """Fails if the editor cannot open a graph of ours, run it, or see what it drew."""
    found = page.context.browser.new_page()
    found.set_default_timeout(PATIENCE)
    found.goto(f"{address}{editor.PATH}/")
    found.get_by_text("Text to image").first.click()
    found.wait_for_function("() => window.app?.graph?.nodes.length === 7")
    found.evaluate("""() => {
        const small = {width: 64, height: 64, steps: 2};
        for (const node of app.graph.nodes)
            for (const widget of node.widgets || [])
                widget.value = small[widget.name] ?? widget.value;
    }""")
    shot(found, "editor_graph")
    found.keyboard.press("Escape")
    found.get_by_role("button", name="Run").first.click()
    found.wait_for_function("""() => app.graph.nodes.some(node => node.imgs?.length)""")
    shot(found, "editor")
    found.close()
