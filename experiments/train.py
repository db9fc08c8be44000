"""Trains what a config describes; the same command again resumes.

python experiments/train.py --config=configs/digits.py --workdir=runs/digits
"""

import cli
import jax
from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe, such as configs/digits.py:edm.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder that the run is written to.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other processes of a pod first.")
flags.mark_flags_as_required(["config", "workdir"])


def main() -> None:
    """Trains to the last step."""
    if DISTRIBUTED.value:
        jax.distributed.initialize()
    from jaxdiff import Experiment  # noqa: PLC0415 - after the processes have found each other

    Experiment(CONFIG.value).train(WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
