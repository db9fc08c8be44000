"""Scripts, each in a process of its own, forked from one that has imported what they import."""

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTS = (
    "jaxdiff.runs.run",
    "jaxdiff.diffusion.likelihood",
    "jaxdiff.evaluation.report",
    "ml_collections.config_flags",
    "tensorflow_datasets",
)
SECONDS = 1200
"""After which a script hangs, on however busy a machine."""


def environment():
    """Of a script: this checkout, and one device."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "experiments")))
    return {**os.environ, "PYTHONPATH": paths, "JAX_NUM_CPU_DEVICES": "1"}


class Scripts:
    """`scripts(path, *flags)` runs one and returns its exit code and all that it printed."""

    def __init__(self):
        command = [sys.executable, "-W", "ignore:os.fork", __file__]
        self._server = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, script, *flags):
        with tempfile.NamedTemporaryFile("r") as output:
            request = json.dumps([[str(script), *map(str, flags)], output.name])
            print(request, file=self._server.stdin, flush=True)
            return int(self._server.stdout.readline()), output.read()

    def close(self):
        self._server.stdin.close()
        self._server.wait()


def serve():
    """Forks a child for each request; no thread and no device may have been started before."""
    for name in IMPORTS:
        importlib.import_module(name)
    for request in sys.stdin:
        child = os.fork()
        if child == 0:
            sys.argv, output = json.loads(request)
            file = os.open(output, os.O_WRONLY)
            os.dup2(file, 1)
            os.dup2(file, 2)
            signal.alarm(SECONDS)
            sys.path.insert(0, str(Path(sys.argv[0]).parent))
            runpy.run_path(sys.argv[0], run_name="__main__")
            sys.exit()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
