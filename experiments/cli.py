"""What the scripts share: logging, flags for sampling, and errors that a person can read."""

import logging
import os
import sys
from collections.abc import Callable

import jax
from absl import app, flags
from absl import logging as absl_logging

from jaxdiff import Run, load
from jaxdiff.training.checkpoint import CheckpointError
from jaxdiff.training.loop import NonFiniteError

FLAGS = flags.FLAGS
flags.DEFINE_bool("traceback", False, "Show where in the code an error came from.")


def define_sampling_flags() -> None:
    """Defines the flags that choose a run and how it is sampled; the config's values by default."""
    flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    flags.DEFINE_multi_string(
        "changes", [], "Where frozen weights have moved to: codec.weights=path; may be repeated."
    )
    flags.DEFINE_string("solver", None, 'Such as "DPMpp2M" or "DDIM(eta=1.0)".')
    flags.DEFINE_string("timesteps", None, 'Such as "Uniform" or "Karras(rho=7.0)".')
    flags.DEFINE_integer("steps", None, "Solver steps.")
    flags.DEFINE_string("guidance", None, 'Such as "CFGZeroStar" or "Interval(low=0.2, high=0.8)".')
    flags.DEFINE_float("guidance_scale", None, "How strong the guidance is; 1 for none.")
    flags.DEFINE_integer("batch_size", None, "Samples at a time.")
    flags.DEFINE_integer("seed", 0, "Sample i of a seed is the same picture in any batch.")


def load_run() -> Run:
    """Loads the run that the flags choose."""
    changes = [change.partition("=") for change in FLAGS.changes]
    return load(FLAGS.workdir, {name: value for name, _, value in changes})


def sampling_options() -> dict:
    """Returns the sampling flags as options of `Run.sample`."""
    names = ("solver", "timesteps", "steps", "guidance", "guidance_scale", "batch_size", "seed")
    return {name: FLAGS[name].value for name in names}


def run(main: Callable[[], None]) -> None:
    """Parses the flags and runs `main`; errors of use are one message and exit code 1."""

    def guarded(argv):
        # Orbax tells all that it does, and each failure once per thread; ours say it once.
        absl_logging.set_verbosity(absl_logging.ERROR if FLAGS.traceback else absl_logging.FATAL)
        plain = logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S")
        absl_logging.get_absl_handler().setFormatter(plain)
        logging.getLogger("jaxdiff").setLevel(logging.INFO)
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments {argv[1:]}")
        try:
            main()
        except (ValueError, OSError, CheckpointError, NonFiniteError) as error:
            if FLAGS.traceback:
                raise
            message = str(error).split("\n-----")[0]  # JAX appends remarks on its frames
            print(f"error: {message}", file=sys.stderr)
            sys.exit(1)
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1 or FLAGS.traceback:
                raise
            why = str(error).strip().splitlines()[0]
            print(
                f"error: process {jax.process_index()}: another process has ended, or cannot be "
                f"reached ({why}); the last checkpoint is kept, and the same command goes on",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)  # an ordinary exit would wait for the others

    app.run(guarded, flags_parser=_parse)


def _parse(argv):
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        # Config flags raise from inside the parser, where absl does not look.
        message = error
        while isinstance(message, Exception) and message.args:
            message = message.args[0]
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)
