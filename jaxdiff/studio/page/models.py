"""The panels of models: checkpoints merged, runs compared, adapters."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import gradio

from jaxdiff.pipelines.saving import save_file
from jaxdiff.pretrained.files import header_of
from jaxdiff.runs import compare
from jaxdiff.studio.folders import Folders, inside
from jaxdiff.studio.merging import merged
from jaxdiff.studio.page.parts import visitor
from jaxdiff.studio.service.jobs import Job
from jaxdiff.studio.service.studio import Studio
from jaxdiff.studio.sources import Released

NOTHING = "none"


def merge_panel(studio: Studio) -> None:
    """Merge: a weighted mean of two checkpoints, or a difference added to one."""
    names = studio.names()
    first = gradio.Dropdown(names, label="First")
    second = gradio.Dropdown(names, label="Second")
    third = gradio.Dropdown([NOTHING, *names], value=NOTHING, label="Third, what the second is of")
    weight = gradio.Slider(-1, 2, value=0.5, step=0.05, label="Weight")
    out = gradio.Textbox("merged", label="Name of the new checkpoint")
    button = gradio.Button("Merge", variant="primary")
    line = gradio.Markdown("")
    python = gradio.Code(label="Python", language="python", interactive=False)
    button.click(
        lambda *values: merge(studio, *values), [first, second, third, weight, out], [line, python]
    )


def merge(
    studio: Studio, first: str, second: str, third: str, weight: float, out: str
) -> tuple[str, str]:
    """Writes a merged checkpoint, and returns a line of text, and the Python of the same.

    Raises:
        gradio.Error: the models do not fit; the name is taken, or none.
    """
    given = [name for name in (first, second, third) if name not in (None, NOTHING)]
    try:
        path = inside(studio.folders.folder("checkpoints"), f"{out}.safetensors")
        if path.exists():
            raise ValueError(f"{path.name} is there already; choose another name")
        if len(given) < 2:
            raise ValueError("choose two models at least")

        def work(job: Job) -> None:
            pipelines = [_pipeline(studio, name) for name in given]
            whole = merged(pipelines[0], pipelines[1], weight, *pipelines[2:])
            save_file(whole, path)

        studio.worker.submit(Job(work, visitor())).wait()
    except (ValueError, RuntimeError, OSError) as error:
        raise gradio.Error(str(error)) from None
    opened = [f"jaxdiff.released({str(_path(studio, name))!r})" for name in given]
    last = ", third" if len(given) == 3 else ""
    lines = [
        "import jaxdiff",
        "from jaxdiff.pipelines.saving import save_file",
        "from jaxdiff.studio.merging import merged",
        "",
        *(f"{n} = {code}" for n, code in zip(("first", "second", "third"), opened, strict=False)),
        f"save_file(merged(first, second, {weight}{last}), {str(path)!r})",
    ]
    return f"written: {path.name}", "\n".join(lines)


def _pipeline(studio: Studio, name: str) -> Any:
    source = studio.source(name)
    if not isinstance(source, Released):
        raise ValueError(f"{name!r} is a run; released models are merged")
    return source.pipeline


def _path(studio: Studio, name: str) -> Path:
    return studio.paths.get(name) or studio.folders.path("checkpoints", name)


def runs_panel(studio: Studio) -> None:
    """Runs: those of a folder in one table, by a figure of the runs."""
    folder = gradio.Textbox("runs", label="Folder of runs, within the one the studio began in")
    metric = gradio.Textbox("loss", label="Figure; lower is better")
    button = gradio.Button("Compare")
    words = gradio.Markdown("")
    python = gradio.Code(label="The same", language="shell", interactive=False)
    button.click(compared, [folder, metric], [words, python])


def compared(folder: str, metric: str) -> tuple[str, str]:
    """Returns a table of runs, best first, and the command of the same.

    Raises:
        gradio.Error: there are no runs, or the folder lies elsewhere.
    """
    try:
        found = compare.records(inside(Path.cwd(), folder))
    except ValueError as error:
        raise gradio.Error(str(error)) from None
    best = compare.over_seeds(found, metric)
    text = compare.markdown(best) + "\n" + compare.markdown([each.row() for each in found])
    return text, f"python -m jaxdiff compare --workdir={folder} --metric={metric}"


def adapters_panel(studio: Studio) -> None:
    """Adapters: LoRA files and embeddings, with what their headers say."""
    folder = gradio.Radio(["loras", "embeddings"], value="loras", label="Folder")
    table = gradio.Dataframe(
        headers=["name", "in a prompt", "base", "rank", "words", "size"], label="Files", wrap=True
    )
    folder.change(lambda name: cards(studio.folders, name), folder, table)
    gradio.Button("Show").click(lambda name: cards(studio.folders, name), folder, table)


def cards(folders: Folders, folder: str) -> list[list[str]]:
    """Returns a row for each file of a folder, of what its header says about its training."""
    rows = []
    for name in folders.listed(folder):
        path = folders.path(folder, name)
        try:
            header = header_of(path)
        except ValueError as error:
            rows.append([name, "", str(error), "", "", ""])
            continue
        stem = Path(name).stem
        base = header.get("ss_sd_model_name") or header.get("modelspec.architecture", "")
        rank = header.get("ss_network_dim", "")
        words = ", ".join(frequent(header.get("ss_tag_frequency", "")))
        prompt = f"<lora:{stem}:1>" if folder == "loras" else stem
        rows.append([name, prompt, base, rank, words, f"{path.stat().st_size / 2**20:.1f} MiB"])
    return rows


def frequent(text: str, most: int = 8) -> list[str]:
    """Returns the most frequent words of a training, of the table that its header has as JSON."""
    try:
        tables = json.loads(text).values()
        counts: Counter[str] = Counter()
        for each in tables:
            counts.update({str(word).strip(): int(count) for word, count in each.items()})
    except (ValueError, AttributeError, TypeError, RecursionError):
        return []
    return [word for word, _ in counts.most_common(most)]
