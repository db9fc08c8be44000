"""Computes what the frozen encoders of a recipe make of its data, before a training needs it.

python experiments/cache.py --config=configs/scenes_text.py:dit \\
    --config.train.cache=Cache --config.train.cache.examples=20000

A training with the same fields reads it, and does the same first where nobody has. The same command
goes on where it was interrupted. Another autoencoder, transform or data set is another cache.
"""

import cli
from absl import flags

cli.flag("config", cli.Text, None, "Recipe, such as scenes_text:dit.", required=True)
REMOVE = flags.DEFINE_bool("remove_stale", False, "Delete other caches of the same data.")


def main() -> None:
    """Fills the cache, and prints its folder and size."""
    config = cli.config()
    from jaxdiff import Experiment  # noqa: PLC0415 - takes seconds
    from jaxdiff import config as configs  # noqa: PLC0415
    from jaxdiff.caches import use_compilation_cache  # noqa: PLC0415
    from jaxdiff.config.build import build  # noqa: PLC0415
    from jaxdiff.data import caches  # noqa: PLC0415
    from jaxdiff.runs import cached  # noqa: PLC0415

    if not config.train.cache:
        raise ValueError("train.cache is empty: name one, --config.train.cache=Cache")
    use_compilation_cache()
    experiment, cache = Experiment(config), build(caches, configs.plain(config.train.cache))
    experiment.table.require()
    if REMOVE.value:
        for folder in cached.remove_stale(experiment, cache):
            print(f"deleted {folder}")
    source = cached.filled(experiment, cache)
    size = sum(path.stat().st_size for path in source.folder.iterdir())
    print(f"{source.folder}: {len(source)} examples, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
