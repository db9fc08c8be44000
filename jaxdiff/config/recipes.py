"""Recipes: files with `get_config(variant)`, of a person or of this package."""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from jaxdiff.config.kinds import suggest
from jaxdiff.files import AnyPath, as_path
from jaxdiff.options import short


def folder(name: str, beside: str) -> Path:
    """Returns the installed folder of a name, or in a checkout the one beside the package."""
    package = Path(__file__).parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parent / beside


def published(path: str | AnyPath) -> AnyPath:
    """Returns a run's folder: "pretrained/NAME" is this package's own, from any folder."""
    path = as_path(path)
    if path.is_absolute() or path.exists() or path.parts[:1] != ("pretrained",):
        return path
    ours = folder("published", "pretrained").joinpath(*path.parts[1:])
    return ours if ours.exists() else path


def load_recipe(spec: str) -> ConfigDict:
    """Returns the config of a recipe: "configs/digits.py:edm", or "digits:edm" of this package.

    The recipe may import its neighbours, and modules of the current folder.

    Raises:
        ValueError: there is no such recipe or variant, or the file raises; says what.
    """
    name, _, variant = spec.partition(":")
    path = _find(name)
    module = recipe_module(spec)
    make = getattr(module, "get_config", None)
    if not callable(make):
        raise ValueError(f"{path} has no function get_config()")
    takes = inspect.signature(make).parameters
    if variant and not takes:
        raise ValueError(f"{path} has no variants, such as {short(variant)}")
    try:
        config = make(variant) if variant else make()
    except ValueError:
        raise
    except (Exception, SystemExit) as error:  # whatever a person's own file raises
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(f"{path}: get_config() returned {short(config)}, not a ConfigDict")
    return config


def recipe_module(spec: str) -> ModuleType:
    """Returns the module of a recipe, which also has its sweeps."""
    return _imported(_find(spec.partition(":")[0]))


def _find(name: str) -> Path:
    ours = folder("recipes", "configs")
    for path in (Path(name), ours / f"{name}.py"):
        if name and path.is_file():
            return path
    known = [path.stem for path in ours.glob("*.py") if not path.name.startswith("_")]
    raise ValueError(
        f"config={short(name)}: there is no such file, and no such recipe"
        f"{suggest(Path(name).stem, known)}"
    )


def _imported(path: Path) -> ModuleType:
    for neighbours in (str(Path.cwd()), str(path.resolve().parent)):
        if neighbours not in sys.path:
            sys.path.insert(0, neighbours)
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a person's own file raises
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    return module
