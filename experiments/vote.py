"""Collects votes between two pictures of a run, from persons in a browser or from a known taste.

python experiments/vote.py --workdir=runs/flow --num=200 --out=runs/votes
python experiments/vote.py --workdir=runs/flow --num=1000 --voter=Brightness --out=runs/votes

Writes votes.jsonl, which the data set `votes` reads, pairs.json and the pictures. The page of the
first command needs the extra "studio"; the same command goes on where the votes ended. A taste is a
reward of `jaxdiff.objectives.rewards`, or "module:Name".
"""

from pathlib import Path

import cli
import numpy as np
from absl import flags

from jaxdiff.config.build import build
from jaxdiff.evaluation.evaluators import balanced_labels
from jaxdiff.files import check_writable
from jaxdiff.objectives import rewards
from jaxdiff.runs import voting

cli.define_sampling_flags()
NUM = cli.flag("num", cli.Size, 100, "Number of pairs.")
TEXT = flags.DEFINE_multi_string("text", [], "Prompt, each for an equal share of the pairs.")
VOTER = cli.flag("voter", cli.Text, None, 'A taste that votes, such as "Brightness".')
TEMPERATURE = cli.flag("temperature", cli.Share, 0.05, "How often a taste errs; 0 for never.")
PORT = cli.flag("port", cli.Size, 7860, "Of the page, on this machine only.")
OUT = cli.flag("out", cli.Text, None, "Folder of the votes.", required=True)


def main() -> None:
    """Draws the pairs, and collects a vote on each."""
    folder = Path(OUT.value)
    check_writable(folder / voting.VOTES)
    taste = None if VOTER.value is None else build(rewards, cli.spec(VOTER.value), rewards.KIND)
    run = cli.load_run()
    rows = {"label": np.arange(run.num_classes), "text": np.array(TEXT.value)}
    num = NUM.value
    cond = {k: row[balanced_labels(num, len(row))] for k, row in rows.items() if len(row)}
    cond = {name: values for name, values in cond.items() if name in run.config.conditions}
    pairs, pictures = voting.draw_pairs(run, num, cond, folder, **cli.sampling_options())
    known = voting.voted(folder)
    left = [i for i, pair in enumerate(pairs) if frozenset((pair.first, pair.second)) not in known]
    if taste is None:
        _page(folder, [pairs[i] for i in left])
        return
    found = np.asarray(taste(pictures.reshape(-1, *run.shape), {})).reshape(num, 2)
    first = voting.choices(found, TEMPERATURE.value, cli.FLAGS.seed)
    for i in left:
        voting.record(folder, pairs[i], bool(first[i]))
    print(folder / voting.VOTES)


def _page(folder, pairs):
    """Serves a page with two pictures and two buttons, until it is stopped."""
    try:
        import gradio  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("the page needs the extra: pip install 'jaxdiff[studio]'") from None

    def shown(place):
        if place >= len(pairs):
            return place, None, None, f"All {len(pairs)} pairs have votes. Thank you."
        pair = pairs[place]
        asked = ", ".join(f"{name}: {value}" for name, value in pair.cond.items())
        paths = [str(folder / name) for name in (pair.first, pair.second)]
        return place, *paths, f"{place + 1} of {len(pairs)}. {asked}"

    def choose(place, first):
        if place < len(pairs):
            voting.record(folder, pairs[place], first)
        return shown(place + 1)

    with gradio.Blocks(title="Which picture is better?") as page:
        gradio.Markdown("## Which picture is better?")
        line, place = gradio.Markdown(), gradio.State(0)
        with gradio.Row():
            left, right = (gradio.Image(type="filepath", show_label=False) for _ in range(2))
        with gradio.Row():
            buttons = [gradio.Button(text) for text in ("Left", "Skip", "Right")]
        outputs = [place, left, right, line]
        buttons[0].click(lambda at: choose(at, True), place, outputs)
        buttons[1].click(lambda at: shown(at + 1), place, outputs)
        buttons[2].click(lambda at: choose(at, False), place, outputs)
        page.load(shown, place, outputs)
    page.launch(server_name="127.0.0.1", server_port=PORT.value, allowed_paths=[str(folder)])


if __name__ == "__main__":
    cli.run(main)
