"""Launchers: the runs of a sweep here one after another, in a pool, as commands, by schedulers."""

import functools
import itertools
import logging
import os
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxdiff.config.recipes import folder
from jaxdiff.files import AnyPath, in_bucket
from jaxdiff.options import checked
from jaxdiff.weights.stored import CHECKPOINTS, steps_in

logger = logging.getLogger(__name__)

ERROR = "error.txt"
"""The last error of a run, in its folder."""


@dataclass(frozen=True)
class Launch:
    """One run of a sweep: its name, its folder, its config, and the flags that make this config.

    `arguments` are floats that are arguments of the training step, as in `Recipe`.
    """

    name: str
    workdir: AnyPath
    config: Any
    flags: Sequence[str]
    arguments: Sequence[str] = ()

    def step(self) -> int:
        """Returns the step of the newest checkpoint; 0 without one."""
        return max(steps_in(self.workdir / CHECKPOINTS), default=0)

    def steps(self, until: int | None = None) -> int:
        """Returns the step at which the run ends, or stops."""
        return min(self.config.train.steps, until or self.config.train.steps)

    def is_done(self, until: int | None = None) -> bool:
        """Returns whether there is a checkpoint of the last step."""
        return self.step() >= self.steps(until)

    def error(self) -> str | None:
        """Returns the last line of what went wrong the last time; None if nothing did."""
        file = self.workdir / ERROR
        return file.read_text().strip().splitlines()[-1] if file.exists() else None

    def command(self, until: int | None = None) -> list[str]:
        """Returns the command that trains this run."""
        script = folder("commands", "experiments") / "train.py"
        return [sys.executable, str(script), *self.given(until)]

    def given(self, until: int | None = None) -> list[str]:
        """Returns the flags of that command."""
        more = [] if until is None else [f"--until={until}"]
        more += [f"--arguments={','.join(self.arguments)}"] if self.arguments else []
        return [f"--workdir={self.workdir}", *self.flags, *more]


@dataclass(frozen=True)
class Here:
    """Runs in this process, one after another."""

    def __call__(self, launches: Sequence[Launch], until: int | None = None) -> None:
        """Trains each; an error of one is written into its folder. A stop by signal stops all."""
        from jaxdiff.runs.experiment import Experiment  # noqa: PLC0415 - takes seconds

        for number, launch in enumerate(launches, 1):
            logger.info("run %d of %d: %s", number, len(launches), launch.name)
            train = lambda each: Experiment(each.config, None, each.arguments).train(
                each.workdir, until
            )
            with_errors(launch, functools.partial(train, launch))
            if not launch.is_done(until) and launch.error() is None:
                logger.info("stopped; the same command goes on")
                return


def with_errors(launch: Launch, train: Callable[[], Any]) -> None:
    """Calls `train`, and writes what it raises into the run's folder; a success removes that."""
    file = launch.workdir / ERROR
    file.unlink(missing_ok=True)
    try:
        train()
    except Exception as error:  # one run must not end the others
        launch.workdir.mkdir(parents=True, exist_ok=True)
        file.write_text(traceback.format_exc())
        logger.warning("%s failed: %s", launch.name, str(error).strip().splitlines()[:1])


@dataclass(frozen=True)
class Pool:
    """Runs in processes of their own, `workers` at a time.

    Each has its share of the cores; on GPUs, `devices` lists what each worker sees. What a run
    prints is in log.txt in its folder.
    """

    workers: int = 2
    devices: Sequence[str] = ()

    def __call__(self, launches: Sequence[Launch], until: int | None = None) -> None:
        """Trains all of them."""
        cores = sorted(os.sched_getaffinity(0))
        share = max(len(cores) // self.workers, 1)
        free = list(range(self.workers))

        def one(launch: Launch) -> None:
            place = free.pop()
            environment = dict(os.environ)
            if self.devices:
                environment["CUDA_VISIBLE_DEVICES"] = self.devices[place]
            mine = set(itertools.islice(itertools.cycle(cores), place * share, (place + 1) * share))
            try:
                with_errors(launch, lambda: _process(launch, until, environment, mine))
            finally:
                free.append(place)

        with ThreadPoolExecutor(self.workers) as executor:
            list(executor.map(one, launches))


def _process(
    launch: Launch, until: int | None, environment: Mapping[str, str], cores: set[int]
) -> None:
    launch.workdir.mkdir(parents=True, exist_ok=True)
    with (launch.workdir / "log.txt").open("w") as log:
        process = subprocess.Popen(
            launch.command(until), stdout=log, stderr=subprocess.STDOUT, env=dict(environment)
        )
        os.sched_setaffinity(process.pid, cores)
        if process.wait():
            log.flush()
            lines = (launch.workdir / "log.txt").read_text().strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"exit code {process.returncode}")


@dataclass(frozen=True)
class Commands:
    """Prints a shell command a run, for any other scheduler."""

    def __call__(self, launches: Sequence[Launch], until: int | None = None) -> None:
        """Prints them."""
        for launch in launches:
            print(shlex.join(launch.command(until)))


@dataclass(frozen=True)
class Slurm:
    """A SLURM array by submitit; options are those of its `update_parameters`.

    Attributes:
        folder: where submitit keeps scripts and logs.
        options: such as {"timeout_min": 240, "gpus_per_node": 1, "slurm_partition": "gpu"}.
        cluster: "slurm"; "local" and "debug" try it out without SLURM.
        wait: whether to return only when all jobs have ended.
    """

    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = "slurm"
    wait: bool = False

    def __call__(self, launches: Sequence[Launch], until: int | None = None) -> None:
        """Submits all of them as one array.

        Raises:
            ImportError: submitit is not installed.
        """
        import submitit  # noqa: PLC0415 - of the extra `slurm`

        executor = submitit.AutoExecutor(folder=self.folder, cluster=self.cluster)
        executor.update_parameters(**self.options)
        start = time.time()
        with executor.batch():
            jobs = [executor.submit(_job, launch, until) for launch in launches]
        for job, launch in zip(jobs, launches, strict=True):
            logger.info("job %s: %s", job.job_id, launch.name)
            if self.wait:
                job.wait()
        if self.wait:
            logger.info("%d jobs took %.0f s", len(jobs), time.time() - start)


def _job(launch: Launch, until: int | None) -> None:
    with_errors(launch, lambda: _process(launch, until, os.environ, os.sched_getaffinity(0)))


@checked
@dataclass(frozen=True)
class XManager:
    """An experiment of XManager with a job for each run: on this machine, Vertex AI or Kubernetes.

    On this machine all jobs run at once. Workdirs of the clouds are in buckets.

    Attributes:
        image: of a container whose entry point is a Python that has this package; without one, jobs
            are processes of this machine.
        requirements: of a job, as `xm.JobRequirements` has them: {"tpu_v5e": 4}.
        title: of the experiment.

    Raises:
        ValueError: a cloud has no image.
    """

    executor: Literal["Local", "Vertex", "Kubernetes"] = "Local"
    image: str = ""
    requirements: Mapping[str, Any] = field(default_factory=dict)
    title: str = "jaxdiff"

    def __post_init__(self):
        if self.executor != "Local" and not self.image:
            raise ValueError(f"xmanager: executor={self.executor!r} needs image, of a container")

    def __call__(self, launches: Sequence[Launch], until: int | None = None) -> None:
        """Launches all of them; waits for those of this machine.

        Raises:
            ValueError: a workdir is on this machine's disk, which the jobs of a cloud do not see.
            ImportError: xmanager is not installed.
        """
        disks = [each.workdir for each in launches if not in_bucket(each.workdir)]
        if self.executor != "Local" and disks:
            raise ValueError(
                f"xmanager: jobs on {self.executor} do not see {disks[0]}; use --workdir=gs://..."
            )
        from xmanager import xm, xm_local  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

        executor: Any = getattr(xm_local, self.executor)
        program = xm.Container(self.image) if self.image else xm.Binary(sys.executable)
        with xm_local.create_experiment(self.title) as experiment:
            (packaged,) = experiment.package([xm.Packageable(program, executor.Spec())])
            for each in launches:
                train = ["-m", "jaxdiff", "train", *each.given(until)]
                needs = xm.JobRequirements(**self.requirements)
                experiment.add(xm.Job(packaged, executor(needs), args=train))
