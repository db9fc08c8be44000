"""The commands `studio` and `graph`: python -m jaxdiff studio --model=..., graph workflow.json."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path("runs/studio")


def studio(arguments: Sequence[str]) -> int:
    """Serves a web page, and routes for clients: studio --model=PATH [--port=7860]."""
    parser = argparse.ArgumentParser(prog="python -m jaxdiff studio", description=studio.__doc__)
    add = parser.add_argument
    add("--model", action="append", default=[], help="a run, a diffusers folder, a single file")
    add("--folder", type=Path, default=ROOT, help="of models, input, output, temp")
    add("--host", default="127.0.0.1", help="beyond this machine, a token is needed")
    add("--port", type=int, default=7860)
    add("--token_file", type=Path, help="a file with the token that requests must have")
    add("--page", choices=("yes", "no"), default="yes", help="whether the web page is served")
    add("--most_waiting", type=int, default=100, help="jobs in the queue")
    add("--most_pixels", type=int, default=2048 * 2048, help="of one picture")
    add("--most_together", type=int, default=8, help="pictures of requests drawn as one batch")
    add("--most_seconds", type=float, default=3600.0, help="of one job")
    add("--watermark", action="store_true", help="mark pictures invisibly; see docs/provenance.md")
    add("--credentials", action="store_true", help="sign pictures by a local key (C2PA)")
    found = parser.parse_args(arguments)
    return _reported(lambda: _serve(found))


def _serve(found: Any) -> int:
    from jaxdiff.studio.folders import Folders  # noqa: PLC0415 - these take seconds
    from jaxdiff.studio.provenance import finish_in  # noqa: PLC0415
    from jaxdiff.studio.service import app as apps  # noqa: PLC0415
    from jaxdiff.studio.service.studio import Limits, Studio  # noqa: PLC0415

    token = found.token_file.read_text().strip() if found.token_file else ""
    apps.check_host(found.host, token)
    paths = models_of(found.model)
    if wrong := [str(path) for path in paths.values() if not path.exists()]:
        raise ValueError(f"model={wrong[0]!r}: there is no such file or folder")
    limits = Limits(
        pixels=found.most_pixels,
        seconds=found.most_seconds,
        waiting=found.most_waiting,
        together=found.most_together,
    )
    # Graphs open released models by the same names; runs are no graphs' models.
    released = {name: path for name, path in paths.items() if not _is_run(path)}
    finish = finish_in(found.folder / "keys", mark=found.watermark, sign=found.credentials)
    whole = Studio(Folders(found.folder, released).made(), paths, limits, finish)
    start = time.perf_counter()
    if paths:
        whole.source()
        whole.warm()
    app = apps.application(whole, token, page=found.page == "yes")
    print(f"studio: {', '.join(paths) or 'no model'}, ready in {time.perf_counter() - start:.0f} s")
    print(f"http://{found.host}:{found.port}", flush=True)
    apps.serve(app, found.host, found.port)
    return 0


def models_of(paths: Sequence[str]) -> dict[str, Path]:
    """Returns models by name: "name=path", or a path whose last part is the name."""
    found = {}
    for each in paths:
        name, equals, path = each.partition("=")
        path = Path(path if equals else name)
        name = name if equals else path.stem if path.suffix == ".safetensors" else path.name
        if name in found:
            raise ValueError(f"two models are named {name!r}: write --model=NAME=PATH")
        found[name] = path
    return found


def graph(arguments: Sequence[str]) -> int:
    """Runs a workflow of ComfyUI: graph workflow.json [--set 3.seed=7] [--check]."""
    parser = argparse.ArgumentParser(prog="python -m jaxdiff graph", description=graph.__doc__)
    add = parser.add_argument
    add("workflow", type=Path, help="a workflow as ComfyUI saves or exports it")
    add("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", dest="changes")
    add("--model", action="append", default=[], help="NAME=PATH, or a path, for loaders")
    add("--folder", type=Path, default=ROOT, help="of models, input, output, temp")
    add("--trust", action="append", default=[], help="a module of your own with nodes")
    add("--check", action="store_true", help="say what the graph lacks, and run nothing")
    add("--whole", action="store_true", help="compile it as one program")
    return _reported(lambda: _run(parser.parse_args(arguments)))


def _run(found: Any) -> int:
    from jaxdiff import config  # noqa: PLC0415
    from jaxdiff.studio.folders import Folders  # noqa: PLC0415
    from jaxdiff.studio.graph import Engine, check, program, read  # noqa: PLC0415
    from jaxdiff.studio.graph.graph import value_of  # noqa: PLC0415

    config.trust(*found.trust)
    changes = {}
    for each in found.changes:
        place, equals, text = each.partition("=")
        if not equals:
            raise ValueError(f"--set {each}: write NODE.INPUT=VALUE, 3.seed=7")
        changes[place] = value_of(text)
    folders = Folders(found.folder, models_of(found.model)).made()
    workflow = read(found.workflow).changed(changes)
    order = check(workflow, folders)
    if found.check:
        print(f"{len(order)} nodes run: {', '.join(workflow.nodes[key].kind for key in order)}")
        return 0
    texts = {"prompt": json.dumps(workflow.to_api())}
    engine = Engine(folders)
    run = program.run if found.whole else lambda g, e, t: e.run(g, texts=t)
    for saved in run(workflow, engine, texts).values():
        for name in saved.names:
            print(name if saved.kind == "text" else folders.folder(saved.folder) / name)
    return 0


def _is_run(path: Path) -> bool:
    return (path / "config.json").is_file() and not (path / "model_index.json").is_file()


def _reported(command: Any) -> int:
    try:
        return command()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"error: {error}; pip install 'jaxdiff[studio]'", file=sys.stderr)
        return 1
