"""Writes docs/scale.md: what paper-scale recipes need, on chips that need not be here.

PYTHONPATH=FOLDER_OF_LIBTPU python experiments/scale.py          # compiles what is missing
python experiments/scale.py --compile=""                         # the page alone

Figures of compiled steps are kept in docs/scale.json, by name; a name that is there is not compiled
again (`--again` compiles all that --compile names). One step takes minutes on one core, and the
others' figures are analytic: operations counted in the step, bytes by the layout's rules.
"""

import gc
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import cli
import jax
from absl import flags
from scale_page import page

from jaxdiff.config.recipes import recipe_module
from jaxdiff.cost.flops import flops
from jaxdiff.cost.hardware import CHIPS, GIB
from jaxdiff.cost.state import bytes_on_chip
from jaxdiff.cost.step import Cost, experiment_on, of_experiment, target
from jaxdiff.files import check_writable, write_json
from jaxdiff.runs.experiment import Experiment
from jaxdiff.training.step import make_step
from jaxdiff.weights.devices import Devices, make_mesh
from jaxdiff.weights.layouts import fsdp

logger = logging.getLogger("jaxdiff.scale")


class Row(NamedTuple):
    """A step to compile: the recipe, the topology, and fields that differ from the recipe."""

    recipe: str
    topology: str
    changes: dict[str, Any]


FREE = {"parallel": "Mesh(data=1, fsdp=0, constrained=False)"}
SPLASH = {"parallel": "Mesh(data=1, fsdp=0, kernel='splash')"}
SAVED = {"network.remat": "dots_with_no_batch_dims_saveable"}
LEAST = {"network.remat": "nothing_saveable"}
WHOLE = {"accumulate": 1, "codec.dtype": "float32"}
ROWS = {
    "DiT-XL/2": Row("imagenet256_dit_xl2", "v5e:4x4", {}),
    "DiT-XL/2, activations left to the compiler": Row("imagenet256_dit_xl2", "v5e:4x4", FREE),
    "DiT-XL/2, remat": Row("imagenet256_dit_xl2", "v5e:4x4", SAVED),
    "DiT-XL/2, remat of all": Row("imagenet256_dit_xl2", "v5e:4x4", LEAST),
    "DiT-XL/2, replicated": Row("imagenet256_dit_xl2", "v5e:4x4", {"parallel": "jit"}),
    "DiT-XL/2 on 64 chips": Row("imagenet256_dit_xl2", "v5e:8x8", {}),
    "DiT-XL/2 on 16 v5p": Row("imagenet256_dit_xl2", "v5p:2x2x4", {}),
    "MeanFlow-XL/2": Row("imagenet256_meanflow", "v5e:4x4", {}),
    "ECM on ImageNet 64": Row("imagenet64_ecm", "v5e:4x4", {}),
    "SD 1.5 on 64 chips": Row("stable_diffusion_15", "v5e:8x8", {}),
    "SD 3 medium on 64 chips": Row("sd3_medium", "v5e:8x8", {}),
    "SD 3 medium on 64 chips, whole batches": Row("sd3_medium", "v5e:8x8", WHOLE),
    "video DiT-XL, 129 frames": Row("video_dit_xl:129", "v5e:4x4", {}),
    "video DiT-XL, 129 frames, splash": Row("video_dit_xl:129", "v5e:4x4", SPLASH),
    "video DiT-XL, 17 frames": Row("video_dit_xl", "v5e:4x4", {}),
    "video DiT-XL, 17 frames, remat of all": Row("video_dit_xl", "v5e:4x4", LEAST),
}
"""What docs/scale.md has of compiled steps, by name."""

COUNTED = (
    "imagenet64_ecm",
    "imagenet256_dit_xl2",
    "imagenet256_sit_xl2",
    "stable_diffusion_15",
    "sdxl",
    "sd3_medium",
    "video_dit_xl",
    "video_dit_xl:33",
    "video_dit_xl:65",
    "video_dit_xl:129",
)
"""Recipes whose figures are analytic."""

FLEETS = (("v5e", 16), ("v5e", 64), ("v5p", 16), ("h100", 8))

OUT = cli.flag("out", cli.Text, "docs/scale.md", "The page; its figures are beside it, as .json.")
COMPILE = flags.DEFINE_multi_string("compile", list(ROWS), "A step to compile; empty for none.")
COUNT = flags.DEFINE_list("count", list(COUNTED), "Recipes whose operations are counted.")
AGAIN = flags.DEFINE_bool("again", False, "Compile and count what is known, too.")


def main() -> None:
    """Compiles and counts what is missing, and writes the page after each."""
    out, store = Path(OUT.value), Path(OUT.value).with_suffix(".json")
    check_writable(out)
    known = json.loads(store.read_text()) if store.exists() else {}
    compiled, counted = known.get("compiled", {}), known.get("counted", {})

    def written() -> None:
        write_json(store, {"compiled": compiled, "counted": counted})
        out.write_text(page(compiled, counted, FLEETS, CHIPS))

    for name in filter(None, COMPILE.value):
        if name not in ROWS:
            raise ValueError(f"compile has {name!r}; known: {'; '.join(ROWS)}")
        if AGAIN.value or name not in compiled:
            logger.info("compiling %s", name)
            compiled[name] = compile_row(ROWS[name])
            written()
            gc.collect()
    for name in filter(None, COUNT.value):
        if AGAIN.value or name not in counted:
            logger.info("counting %s", name)
            counted[name] = count(name)
            written()
    written()


def recipe_of(name: str, changes: dict[str, Any]) -> Any:
    """Returns a recipe's config, "file:variant", with changes."""
    file, _, variant = name.partition(":")
    module: Any = recipe_module(f"configs/{file}.py")
    config = module.get_config(variant) if variant else module.get_config()
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


def compile_row(row: Row) -> dict[str, Any]:
    """Returns the figures of a compiled step; or why it could not be compiled."""
    where = target(row.topology)
    config = recipe_of(row.recipe, row.changes)
    found = {"recipe": row.recipe, "topology": row.topology, "parallel": config.parallel}
    found |= {"remat": config.network.get("remat", None), "batch_size": config.batch_size}
    try:
        cost: Cost = of_experiment(experiment_on(config, where))
    except Exception as error:  # the compiler refuses what does not fit
        return {**found, "error": str(error).strip().splitlines()[0][:300]}
    assert where.chip is not None  # all rows have chips with published peaks
    bounds = cost.bounds(where.chip)
    return {
        **found,
        "seconds": cost.seconds,
        "peak_gib": cost.peak / GIB,
        "chip_gib": where.chip.memory / GIB,
        "temporaries_gib": cost.memory["temporaries"] / GIB,
        "tflop": cost.flops / 1e12,
        "sent": {kind: [each.count, each.bytes / GIB] for kind, each in cost.sent.items()},
        "milliseconds": {name: 1000 * value for name, value in bounds.items()},
    }


def count(name: str) -> dict[str, Any]:
    """Returns the analytic figures of a recipe: operations a step, and bytes of its state."""
    config = recipe_of(name, {})
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:1]), "jit"))
    state, recipe = experiment.abstract_state(), experiment.recipe
    batch = experiment.task.example(recipe.batch_size)
    total = flops(make_step(recipe), state, batch, recipe.numbers(0))
    where = {str(n): bytes_on_chip(state, fsdp(), n) for n in sorted({n for _, n in FLEETS})}
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    return {
        "parameters": size(state.params),
        "frozen": size(state.frozen),
        "batch_size": recipe.batch_size,
        "steps": config.train.steps,
        "tflop": total / 1e12,
        "state_gib": {n: {k: v / GIB for k, v in kinds.items()} for n, kinds in where.items()},
    }


if __name__ == "__main__":
    cli.run(main)
