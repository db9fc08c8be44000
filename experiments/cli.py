# ruff: noqa: E402 - Ctrl-C during the imports is quiet, too
"""What the scripts share: flags with types and ranges, their help, logging, and readable errors.

Imported first, before anything that takes seconds, so that `--help` and Ctrl-C are quick.
"""

import ast
import logging
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal


def _interrupted(number: int, frame: Any) -> None:
    """Ends the process at once: an exception might be swallowed, or become another one."""
    del number, frame
    os.write(2, b"interrupted\n")
    os._exit(130)


IS_SCRIPT = Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent
if IS_SCRIPT:
    # Before the imports. While a run trains, `training.signals` saves a checkpoint first.
    signal.signal(signal.SIGINT, _interrupted)

from absl import app, flags
from absl import logging as absl_logging

from jaxdiff import options
from jaxdiff.config import flags as fields
from jaxdiff.config import trust
from jaxdiff.config.fields import Text
from jaxdiff.config.recipes import load_recipe
from jaxdiff.options import Between, Count, Levels, Range, Share, Size, Steps

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from jaxdiff import Run

FLAGS = flags.FLAGS
Seed = Annotated[int, Between(0, 2**63 - 1)]
Number = Annotated[float, Range()]
KINDS = {"Annotated": Annotated, "Literal": Literal, "Between": Between, "Range": Range}
KINDS |= {"Count": Count, "Number": Number, "Seed": Seed, "Size": Size, "Text": Text}
KINDS |= {"Levels": Levels, "Share": Share, "Steps": Steps}
HELP = ("--help", "-h", "-help", "--helpfull", "--helpshort", "-?")

_changes: list[tuple[str, str]] = []
"""Fields of the config that the flags set, with their texts."""


class _Parser(flags.ArgumentParser):
    """Reads a flag's text as a value of a kind."""

    def __init__(self, kind: Any):
        self.kind = kind

    def parse(self, argument: Any) -> Any:
        """Returns the value; ValueError says what would be right."""
        value = argument
        if isinstance(argument, str) and not options.fits(self.kind, argument):
            try:
                value = ast.literal_eval(argument)
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                value = argument
        if not options.fits(self.kind, value) and options.fits(self.kind, (value,)):
            value = (value,)  # a list of one, without its comma
        if not options.fits(self.kind, value):
            raise ValueError(f"expected {options.describe(self.kind)}")
        return float(value) if isinstance(value, int) and self.kind is Number else value


def flag(name: str, kind: Any, default: Any, text: str, *, required: bool = False) -> Any:
    """Defines a flag whose values are of a kind, such as `Size` or `Literal["flow", "bound"]`."""
    written = flags.ArgumentSerializer()
    return flags.DEFINE(_Parser(kind), name, default, text, serializer=written, required=required)


flags.DEFINE_bool("traceback", False, "Show where in the code an error came from.")
flags.DEFINE_list("trust", [], "Modules of your own that a run's config.json may name.")


def define_sampling_flags() -> None:
    """Defines the flags that choose a run and how it is sampled; the config's values by default."""
    flag("workdir", Text, None, "Folder of the run.", required=True)
    flags.DEFINE_multi_string(
        "changes", [], "Where frozen weights have moved to: weights.codec=path; may be repeated."
    )
    flag("solver", Text, None, 'Such as "DPMpp2M" or "DDIM(eta=1.0)".')
    flag("timesteps", Text, None, 'Such as "Uniform" or "Karras(rho=7.0)".')
    flag("steps", Steps, None, "Solver steps.")
    flag("guidance", Text, None, 'Such as "CFGZeroStar" or "Interval(low=0.2, high=0.8)".')
    flag("guidance_scale", Number, None, "How strong the guidance is; 1 for none.")
    flag("batch_size", Size, None, "Samples at a time.")
    flag("seed", Seed, 0, "Sample i of a seed is the same picture in any batch.")


def config(changes: Sequence[tuple[str, str]] = ()) -> "ConfigDict":
    """Returns the config of the recipe that `--config` names, with the fields that flags set.

    `changes` are further fields and their texts.
    """
    return fields.changed(load_recipe(FLAGS.config), [*_changes, *changes])


def config_flags(changes: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Returns the flags that make the same config in another process."""
    set_fields = [f"--config.{name}={text}" for name, text in [*_changes, *changes]]
    return [f"--config={FLAGS.config}", *set_fields]


def load_run() -> "Run":
    """Loads the run that the flags choose."""
    from jaxdiff import load  # noqa: PLC0415 - takes seconds

    changes = {}
    for change in FLAGS["changes"].value if "changes" in FLAGS else ():
        name, equals, value = change.partition("=")
        if not equals or not name:
            raise ValueError(f"changes={change!r}: write a field and its value, weights.codec=path")
        path = name.startswith(("weights.", "encoders."))
        changes[name] = value if path else fields.literal(value)
    return load(FLAGS.workdir, changes, trust=FLAGS.trust)


def sampling_options() -> dict:
    """Returns the sampling flags as options of `Run.sample`."""
    names = ("solver", "timesteps", "steps", "guidance", "guidance_scale", "batch_size", "seed")
    values = {name: FLAGS[name].value for name in names}
    parts = {name: spec(values[name]) for name in ("solver", "timesteps", "guidance")}
    return {**values, **parts}


def spec(text: str | None) -> Any:
    """Returns a spec that is written as a table, `{'name': 'DDIM', 'eta': 0.5}`, or the text."""
    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError(
            f"{text!r} is not a table such as {{'name': 'DDIM', 'eta': 0.5}}"
        ) from None


def weighted(name: str, text: str) -> tuple[str, float]:
    """Returns the path and the weight of "style.safetensors:0.8"; the weight is 1 by default."""
    path, colon, weight = text.rpartition(":")
    if not colon or Path(text).exists():
        return text, 1.0
    try:
        return path, float(weight)
    except ValueError:
        raise ValueError(f"{name}={text!r}: write a path, or a path and a number, a:0.8") from None


def span(text: str) -> tuple[float, float]:
    """Returns the shares of the steps from which and to which a map acts, of "0:0.5"."""
    start, colon, end = text.partition(":")
    try:
        return float(start), float(end if colon else "none")
    except ValueError:
        raise ValueError(f"control_steps={text!r}: write shares of the steps, 0:0.5") from None


def run(main: Callable[[], None]) -> None:
    """Parses the flags and runs `main`; errors of use are one message and exit code 1."""

    def guarded(argv):
        # Orbax tells all that it does, and each failure once per thread; ours say it once.
        absl_logging.set_verbosity(absl_logging.ERROR if FLAGS.traceback else absl_logging.FATAL)
        plain = logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S")
        absl_logging.get_absl_handler().setFormatter(plain)
        logging.getLogger("jaxdiff").setLevel(logging.INFO)

        import jax  # noqa: PLC0415 - these take seconds

        from jaxdiff.training.checkpoint import CheckpointError  # noqa: PLC0415
        from jaxdiff.training.loop import NonFiniteError  # noqa: PLC0415

        try:
            if len(argv) > 1:
                raise ValueError(f"unexpected arguments {argv[1:]}")
            trust(*FLAGS.trust)
            main()
        except (ValueError, OSError, ImportError, CheckpointError, NonFiniteError) as error:
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
    # Modules of one's own lie in the current folder.
    sys.path.insert(1, str(Path.cwd()))
    if "config" in FLAGS:
        argv, found = fields.separate(argv)
        _changes.extend(found)
    try:
        return FLAGS(argv)
    except flags.Error as error:
        print(f"error: {error}\n--help lists all flags", file=sys.stderr)
        sys.exit(1)


def help_of(script: Path) -> str:
    """Returns the help of a script, from its source: what it does, and all of its flags."""
    tree, shared = (ast.parse(path.read_text()) for path in (script, Path(__file__)))
    lines = [ast.get_docstring(tree) or "", "", "Flags:"]
    found = list(_flags(tree.body))
    for node in shared.body:
        sampling = isinstance(node, ast.FunctionDef) and node.name == "define_sampling_flags"
        if sampling and "define_sampling_flags()" in script.read_text():
            found += _flags(node.body)
    for name, kind, default, text in [*found, *_flags(shared.body)]:
        lines += textwrap.wrap(f"  --{name}={kind}  {text}{default}", 98, subsequent_indent=" " * 6)
    if any(name == "config" for name, *_ in found):
        lines += [
            "  --config.FIELD=value  Any field of the config, and any option of a part:",
            "      --config.train.steps=1000 --config.network=DiT --config.network.depth=4",
            "",
            "`python -m jaxdiff options` lists the fields, and the names of every kind of part.",
        ]
    return "\n".join(lines)


def _flags(body: list[ast.stmt]) -> Iterator[tuple[str, str, str, str]]:
    """Yields name, kind, default and text of the flags that statements define."""
    for statement in body:
        call = getattr(statement, "value", None)
        if not isinstance(call, ast.Call):
            continue
        function = ast.unparse(call.func).rpartition(".")[2]
        if function != "flag" and not function.startswith("DEFINE_"):
            continue
        name, *rest = call.args
        if function == "flag":
            source = ast.unparse(rest.pop(0)).replace("cli.", "")
            kind = f"({options.describe(eval(source, KINDS))})"
        else:
            words = {"DEFINE_list": "a,b,c", "DEFINE_bool": "true|false"}
            kind = words.get(function, "TEXT")
        default, text = ast.literal_eval(rest[0]), ast.literal_eval(rest[-1])
        required = any(keyword.arg == "required" for keyword in call.keywords)
        plain = default in (None, [], "", False)
        suffix = " Required." if required else "" if plain else f" Default: {default}."
        yield ast.literal_eval(name), kind, suffix, text


def _at_start() -> None:
    """Prints the help where it is asked for."""
    if IS_SCRIPT and set(HELP) & set(sys.argv[1:]):
        print(help_of(Path(sys.argv[0])))
        sys.exit(0)


_at_start()
