"""The page as a person uses it, in Chromium; pictures of it go to $SCREENSHOTS, if that is set."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
STUDENT = Path(__file__).parents[2] / "pretrained" / "fashion_mnist_student"
PATIENCE = 240_000
"""Milliseconds, for machines on which others compute too."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The command as a person types it, in a process without the checks of tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [f"--model={STUDENT}", f"--folder={tmp_path_factory.mktemp('browser')}"]
    command = [sys.executable, "-m", "jaxdiff", "studio", *flags, f"--port={port}"]
    process = subprocess.Popen(command, cwd=STUDENT.parents[1])
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
    page.get_by_role("tab", name=title, exact=True).click()
    return page.get_by_role("tabpanel").filter(visible=True).last


def test_each_panel_as_a_person_uses_it(page, address):
    """Fails if a panel does not open, a button does nothing, or the page asks other sites."""
    panel = opened(page, "Text to image")
    panel.get_by_label("Prompt", exact=True).fill("coat")
    panel.get_by_role("button", name="Draw").click()
    page.get_by_text("drawn in").first.wait_for()
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
    for title in ("Image to image", "Inpaint", "PNG info", "Graph", "Merge", "Runs"):
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
