"""Trains what a config describes; the same command again resumes.

python experiments/train.py --config=configs/digits.py --workdir=runs/digits
"""

import cli
import jax
from absl import flags

cli.flag("config", cli.Text, None, "Recipe, such as configs/digits.py:edm.", required=True)
WORKDIR = cli.flag("workdir", cli.Text, None, "Folder that the run is written to.", required=True)
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other processes of a pod first.")


def main() -> None:
    """Trains to the last step."""
    config = cli.config()
    if DISTRIBUTED.value:
        jax.distributed.initialize()
    from jaxdiff import Experiment  # noqa: PLC0415 - after the processes have found each other

    Experiment(config).train(WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
