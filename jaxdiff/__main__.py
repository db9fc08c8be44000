"""Commands of the package: `python -m jaxdiff train --config=digits --workdir=runs/digits`.

A command is a script of `experiments/`; a recipe without a path is one of `configs/`.
"""

import ast
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxdiff.config.kinds import suggest
from jaxdiff.config.recipes import folder
from jaxdiff.files import atomic_write
from jaxdiff.studio import commands

SCRIPTS = (
    "train",
    "sweep",
    "compare",
    "sample",
    "generate",
    "evaluate",
    "likelihood",
    "timesteps",
    "vote",
    "taste",
    "publish",
    "compile_report",
    "cache",
    "score",
)
COMMANDS = [*SCRIPTS, "studio", "graph", "options"]


def main() -> None:
    """Runs a command, or lists the commands."""
    scripts = folder("commands", "experiments")
    name, *arguments = sys.argv[1:] or ["--help"]
    if name == "options":
        sys.exit(options(arguments))
    if name in ("studio", "graph"):
        sys.exit(getattr(commands, name)(arguments))
    if name not in SCRIPTS:
        print("usage: python -m jaxdiff COMMAND [--help] [flags]\n")
        for each in SCRIPTS:
            print(f"  {each:<16}{summary(scripts / f'{each}.py')}")
        for each in (commands.studio, commands.graph):
            print(f"  {each.__name__:<16}{(each.__doc__ or '').splitlines()[0]}")
        print(f"  {'options':<16}{(options.__doc__ or '').splitlines()[0]}")
        known = name in ("--help", "-h", "help")
        sys.exit(0 if known else f"\nerror: unknown command {name!r}{suggest(name, COMMANDS)}")
    script = str(scripts / f"{name}.py")
    sys.argv = [script, *arguments]
    # The scripts' shared module lies beside them.
    sys.path[:0] = [str(scripts)]
    runpy.run_path(script, run_name="__main__")


def options(arguments: Sequence[str]) -> int:
    """Lists the fields of a config, and the names of each family: options [FAMILY] [--out=FILE]."""
    from jaxdiff.config import listing  # noqa: PLC0415 - imports all families

    files = [each.removeprefix("--out=") for each in arguments if each.startswith("--out=")]
    families = [each for each in arguments if not each.startswith("--")]
    if len(files) + len(families) < len(arguments) or len(families) > 1:
        print("usage: python -m jaxdiff options [FAMILY] [--out=FILE]\n\nFamilies:")
        print("\n".join(f"  {each}" for each in listing.FAMILIES))
        return 0 if {"--help", "-h"} & set(arguments) else 1
    try:
        text = listing.family_page(families[0]) if families else listing.page()
        if files:
            with atomic_write(files[0]) as draft:
                draft.write_text(text)
        else:
            print(text, end="")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def summary(script: Path) -> str:
    """Returns the first line of a script's docstring."""
    return ast.get_docstring(ast.parse(script.read_text())).splitlines()[0]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
