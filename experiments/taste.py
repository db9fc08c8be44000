"""Learns a taste from votes, as a reward for tuning: `config.objective.reward="Learned(file=...)"`.

python experiments/vote.py --workdir=runs/flow --num=300 --out=runs/votes
python experiments/taste.py --votes=runs/votes/votes.jsonl --channels=1 --out=runs/taste.npz
python -m jaxdiff train --config=digits_preferences:nft --workdir=runs/liked \\
    --config.weights.teacher=runs/flow \\
    --config.objective="DiffusionNFT(reward=Learned(file='runs/taste.npz'))"

A Bradley-Terry model: of --features, a run of the task Contrastive or a classifier's .npz file, the
last map is trained; without it, a small network as a whole. It prints the share of the held-out
votes that it agrees with.
"""

from pathlib import Path

import cli

from jaxdiff.files import check_writable
from jaxdiff.runs.tastes import learn, read_votes

VOTES = cli.flag("votes", cli.Text, None, "A file of votes, as vote.py writes it.", required=True)
FEATURES = cli.flag("features", cli.Text, None, "A run of Contrastive, or a classifier's .npz.")
CHANNELS = cli.flag("channels", cli.Size, 3, "Of the pictures: 1 or 3.")
STEPS = cli.flag("steps", cli.Size, 400, "Steps of AdamW.")
SEED = cli.flag("seed", cli.Seed, 0, "Of the network and the order of the votes.")
OUT = cli.flag("out", cli.Text, None, "A .npz file.", required=True)


def main() -> None:
    """Learns and saves."""
    out = Path(OUT.value)
    if out.suffix != ".npz":
        raise ValueError(f"out={out}: the file name must end in .npz")
    check_writable(out)
    read = lambda split: read_votes(VOTES.value, split, channels=CHANNELS.value)
    chosen, rejected = read("train")
    taste = learn(
        chosen, rejected, read("test"),
        features=FEATURES.value, steps=STEPS.value, seed=SEED.value,
    )  # fmt: skip
    taste.save(out)
    print(f"{out}: agrees with {taste.accuracy:.1%} of the held-out votes")


if __name__ == "__main__":
    cli.run(main)
