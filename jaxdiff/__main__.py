"""Commands of the package: `python -m jaxdiff train --config=digits --workdir=runs/digits`.

A command is a script of `experiments/`; a recipe without a path is one of `configs/`.
"""

import ast
import runpy
import sys
from pathlib import Path

SCRIPTS = ("train", "sample", "evaluate", "likelihood", "timesteps")


def folder(name: str, beside: str) -> Path:
    """Returns the installed folder of a name, or in a checkout the one beside the package."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / beside


def main() -> None:
    """Runs a command, or lists the commands."""
    scripts = folder("commands", "experiments")
    name, *arguments = sys.argv[1:] or ["--help"]
    if name not in SCRIPTS:
        print("usage: python -m jaxdiff COMMAND [--help] [flags]\n")
        for each in SCRIPTS:
            print(f"  {each:<12}{summary(scripts / f'{each}.py')}")
        known = name in ("--help", "-h", "help")
        sys.exit(0 if known else f"\nerror: unknown command {name!r}")
    script = str(scripts / f"{name}.py")
    sys.argv = [script, *map(with_recipe, arguments)]
    # A lab's own modules lie in the current folder, the scripts' shared one beside them.
    sys.path[:0] = [str(scripts), str(Path.cwd())]
    runpy.run_path(script, run_name="__main__")


def with_recipe(argument: str) -> str:
    """Returns `--config=digits:flow` with the path of the recipe that the package ships."""
    flag, equals, value = argument.partition("=")
    if flag.lstrip("-") != "config" or not equals:
        return argument
    name, colon, variant = value.partition(":")
    recipe = folder("recipes", "configs") / f"{name}.py"
    if Path(name).exists() or not recipe.is_file():
        return argument
    return f"{flag}={recipe}{colon}{variant}"


def summary(script: Path) -> str:
    """Returns the first line of a script's docstring."""
    return ast.get_docstring(ast.parse(script.read_text())).splitlines()[0]


if __name__ == "__main__":
    main()
