"""Trains what a config describes; the same command again resumes.

python experiments/train.py --config=configs/digits.py --workdir=runs/digits
"""

import cli
from absl import flags
from ml_collections import config_flags

from jaxdiff.runs.processes import join

CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe, such as configs/digits.py:edm.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder that the run is written to.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other processes of a pod first.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "With --distributed: host:port of process 0, where no scheduler says it."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which, from 0.")
flags.mark_flags_as_required(["config", "workdir"])


def main() -> None:
    """Trains to the last step."""
    if DISTRIBUTED.value:
        join(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    from jaxdiff import Experiment  # noqa: PLC0415 - after the processes have found each other

    Experiment(CONFIG.value).train(WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
