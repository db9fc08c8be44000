"""Makes a small folder of a run, to be given away: average weights in bfloat16, config, card.

python experiments/publish.py --workdir=runs/digits --out=pretrained/digits \\
    --card="Data: Alpaydin & Kaynak 1998, CC BY 4.0."

`jaxdiff.load(out)`, `--workdir=` of sample.py and `--config.weights.network=` read it like a run.
A run in latents is published with its autoencoder within; or beside it, for several runs:

python experiments/publish.py --workdir=runs/scenes_autoencoder --out=pretrained/scenes_autoencoder
python experiments/publish.py --workdir=runs/scenes_text_dit --out=pretrained/scenes_text \
    --codec=pretrained/scenes_autoencoder
"""

import cli

import jaxdiff
from jaxdiff.runs.publish import publish

cli.flag("workdir", cli.Text, None, "Folder of the run.", required=True)
OUT = cli.flag("out", cli.Text, None, "The new folder.", required=True)
CARD = cli.flag("card", cli.Text, None, "Text for its README.md: data, licence, figures, limits.")
CODEC = cli.flag("codec", cli.Text, None, "The published folder of the run's autoencoder.")


def main() -> None:
    """Loads, writes, and prints the size."""
    run = jaxdiff.load(cli.FLAGS.workdir, trust=cli.FLAGS.trust)
    size = publish(run, OUT.value, CARD.value or "", CODEC.value or "")
    print(f"{OUT.value}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
