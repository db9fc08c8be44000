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
from jaxdiff.files import check_writable
from jaxdiff.objectives import rewards
from jaxdiff.runs import voting

cli.define_sampling_flags()
NUM = cli.flag("num", cli.Size, 100, "Number of pairs.")
TEXT = flags.DEFINE_multi_string("text", [], "Prompt, each for an equal share of the pairs.")
CAPTIONS = flags.DEFINE_bool("captions", False, "Prompts are captions of the run's data.")
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
    num = NUM.value
    texts = voting.captions(run, num) if CAPTIONS.value else TEXT.value
    cond = voting.asked(run, num, texts)
    pairs, pictures = voting.draw_pairs(run, num, cond, folder, **cli.sampling_options())
    left = voting.left(folder, pairs)
    if taste is None:
        _page(folder, left)
        return
    found = np.asarray(taste(pictures.reshape(-1, *run.shape), {})).reshape(num, 2)
    chosen = voting.choices(found, TEMPERATURE.value, cli.FLAGS.seed)
    first = dict(zip([pair.first for pair in pairs], chosen, strict=True))
    for pair in left:
        voting.record(folder, pair, bool(first[pair.first]))
    print(folder / voting.VOTES)


def _page(folder, pairs):
    """Serves a page with two pictures and the buttons that vote, until it is stopped."""
    try:
        import gradio  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

        from jaxdiff.studio.page.votes import Poll, ballot, shown  # noqa: PLC0415
    except ImportError:
        raise ImportError("the page needs the extra: pip install 'jaxdiff[studio]'") from None

    with gradio.Blocks(title="Which picture is better?") as page:
        gradio.Markdown("## Which picture is better?")
        outputs = ballot()
        page.load(lambda: shown(Poll(folder, tuple(pairs))), None, outputs)
    page.launch(server_name="127.0.0.1", server_port=PORT.value)


if __name__ == "__main__":
    cli.run(main)
