"""Trains what a config describes; the same command again resumes.

python experiments/train.py --config=configs/digits.py --workdir=runs/digits
"""

import cli
from absl import flags

from jaxdiff.runs.processes import join

cli.flag("config", cli.Text, None, "Recipe, such as configs/digits.py:edm.", required=True)
WORKDIR = cli.flag("workdir", cli.Text, None, "Folder that the run is written to.", required=True)
UNTIL = cli.flag("until", cli.Size, None, "Step to stop at, before the last one.")
ARGUMENTS = flags.DEFINE_list(
    "arguments", [], "Numbers that are arguments of the step, as a sweep gives them."
)
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other processes of a pod first.")
COORDINATOR = cli.flag(
    "coordinator",
    cli.Text,
    None,
    "With --distributed: host:port of process 0, where no scheduler says it.",
)
NUM_PROCESSES = cli.flag("num_processes", cli.Size, None, "With --coordinator: how many.")
PROCESS_ID = cli.flag("process_id", cli.Count, None, "With --coordinator: which, from 0.")


def main() -> None:
    """Trains to the last step."""
    config = cli.config()
    if DISTRIBUTED.value:
        join(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    from jaxdiff import Experiment  # noqa: PLC0415 - after the processes have found each other

    Experiment(config, arguments=ARGUMENTS.value).train(WORKDIR.value, UNTIL.value)


if __name__ == "__main__":
    cli.run(main)
