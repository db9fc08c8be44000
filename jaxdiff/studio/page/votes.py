"""The panel of votes: two pictures of a run, of which a person chooses the better one."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio

from jaxdiff.runs import voting
from jaxdiff.studio import pixels
from jaxdiff.studio.folders import inside
from jaxdiff.studio.page import parts
from jaxdiff.studio.service.jobs import CancelledError, Job
from jaxdiff.studio.service.studio import Studio
from jaxdiff.studio.sources import OfRun

MOST = 2000
"""Pairs that are drawn at a time."""
ROOT = Path("runs")


class Poll(NamedTuple):
    """Pairs of a folder that are asked about, and which of them is next."""

    folder: Path
    pairs: tuple[voting.Pair, ...] = ()
    place: int = 0


def ballot() -> list[Any]:
    """Makes two pictures with the buttons that vote; returns the outputs of `shown`."""
    state, line = gradio.State(None), gradio.Markdown("")
    with gradio.Row():
        images = [
            parts.picture(side, show_label=False, buttons=[])
            for side in ("Left picture", "Right picture")
        ]
    with gradio.Row():
        buttons = [gradio.Button(text) for text in ("Left is better", "Skip", "Right is better")]
    outputs = [state, *images, line]
    for button, first in zip(buttons, (True, None, False), strict=True):
        button.click(lambda poll, first=first: chosen(poll, first), state, outputs)
    return outputs


def chosen(poll: Poll | None, first: bool | None) -> tuple[Any, ...]:
    """Writes a vote, None for neither, and shows the next pair."""
    if poll is None:
        return None, None, None, "Draw pairs first."
    if poll.place >= len(poll.pairs):
        return shown(poll)
    if first is not None:
        voting.record(poll.folder, poll.pairs[poll.place], first)
    return shown(poll._replace(place=poll.place + 1))


def shown(poll: Poll) -> tuple[Any, ...]:
    """Returns the poll, the two pictures that are asked about, and a line of text."""
    count = len(poll.pairs)
    if poll.place >= count:
        votes = len(voting.voted(poll.folder))
        return poll, None, None, f"No pair is left; {poll.folder / voting.VOTES} has {votes} votes."
    pair = poll.pairs[poll.place]
    paths = [inside(poll.folder, name) for name in (pair.first, pair.second)]
    images = [parts.enlarged(pixels.opened(path, path.name)) for path in paths]
    asked = ", ".join(f"{name}: {value}" for name, value in pair.cond.items())
    return poll, *images, f"Which is better? {poll.place + 1} of {count}. {asked}"


def panel(studio: Studio) -> None:
    """Votes: between two pictures of a run, for training by preferences."""
    names = studio.names()
    with gradio.Row():
        with gradio.Column():
            model = gradio.Dropdown(names, value=studio.chosen or None, label="Model: a run")
            texts = gradio.Textbox(
                label="Prompts, one a line", lines=2, placeholder="empty for a run of classes"
            )
            with gradio.Row():
                num = gradio.Number(20, label="Pairs", precision=0)
                seed = gradio.Number(0, label="Seed", precision=0)
            folder = gradio.Textbox("votes", label="Name: their folder below runs")
            with gradio.Row():
                draw = gradio.Button("Draw pairs", variant="primary", elem_classes=["draws"])
                again = gradio.Button("Go on with votes")
                stop = gradio.Button("Interrupt (Esc)", variant="stop", elem_classes=["stops"])
        with gradio.Column():
            outputs = ballot()
            with gradio.Accordion("The same in Python, and as a command", open=False):
                python = gradio.Code(label="Python", language="python", interactive=False)
                command = gradio.Code(label="Command", language="shell", interactive=False)
    stop.click(lambda: studio.worker.interrupt(parts.visitor()), queue=False)

    def run(chosen: str, words: str, pairs: Any, start: Any, name: str) -> Iterator[Any]:
        yield from drawn(studio, chosen or "", words, int(pairs or 0), int(start or 0), name)

    draw.click(run, [model, texts, num, seed, folder], [*outputs, python, command])
    again.click(lambda name: shown(begun(name)), folder, outputs)


def begun(name: str) -> Poll:
    """Returns the pairs of a folder that have no vote yet.

    Raises:
        gradio.Error: the folder has no pairs, or lies elsewhere.
    """
    try:
        folder = inside(ROOT, name)
        pairs = voting.read_pairs(folder)
        if not pairs:
            raise ValueError(f"{folder} has no pairs; draw some")
        return Poll(folder, tuple(voting.left(folder, pairs)))
    except (ValueError, KeyError) as error:
        raise gradio.Error(str(error)) from None


def drawn(
    studio: Studio, model: str, texts: str, num: int, seed: int, name: str
) -> Iterator[tuple[Any, ...]]:
    """Draws pairs in the queue; yields what `shown` returns, Python and the command.

    Raises:
        gradio.Error: the model is no run of images; the folder has votes of other pairs.
    """
    try:
        folder, source = inside(ROOT, name), studio.source(model)
        if not isinstance(source, OfRun):
            raise ValueError(f"{model!r} is a released model; votes are between pictures of a run")
        voting.check_images(source.run)
        if not 1 <= num <= MOST:
            raise ValueError(f"pairs: {num}; from 1 to {MOST} are drawn at a time")
        prompts = [text.strip() for text in (texts or "").splitlines() if text.strip()]
        code = code_of(source, prompts, num, seed, folder)
        cond = voting.asked(source.run, num, prompts)

        def work(job: Job) -> Poll:
            watch = studio.watched(source, job)
            samples = source.run.sample(2 * num, voting.doubled(cond), seed=seed, watch=watch)
            if job.stopped:
                raise CancelledError("interrupted: no pair was written")
            pairs = voting.write_pairs(samples, cond, folder)
            return Poll(folder, tuple(voting.left(folder, pairs)))

        job = studio.worker.submit(Job(work, parts.visitor(), limit=studio.limits.seconds))
        while not job.finished.wait(0.2):
            yield *[gradio.skip()] * 3, parts.line_of(job), *code
        yield *shown(job.wait()), *code
    except (ValueError, RuntimeError, OSError) as error:
        raise gradio.Error(str(error)) from None


def code_of(source: OfRun, texts: list[str], num: int, seed: int, folder: Path) -> tuple[str, str]:
    """Returns the Python, and the command line, that draw the same pairs."""
    given = f", {texts!r}" if texts else ""
    lines = [
        "from pathlib import Path",
        "",
        "import jaxdiff",
        "from jaxdiff.runs import voting",
        "",
        f"run, folder = jaxdiff.load({str(source.run.folder)!r}), Path({str(folder)!r})",
        f"cond = voting.asked(run, {num}{given})",
        f"pairs, pictures = voting.draw_pairs(run, {num}, cond, folder, seed={seed})",
        "voting.record(folder, pairs[0], first=True)",
    ]
    flags = [f"--workdir={source.run.folder}", f"--num={num}", f"--seed={seed}"]
    flags += [*(f"--text={text}" for text in texts), f"--out={folder}"]
    return "\n".join(lines), shlex.join(["python", "-m", "jaxdiff", "vote", *flags])
