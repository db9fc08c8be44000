"""Public templates of SDXL and Stable Diffusion 3 run on tiny models, and draw what they should."""

import numpy as np
import pytest
from PIL import Image

from jaxdiff.diffusion.timesteps import Linspace, Respaced
from jaxdiff.studio.folders import Folders
from jaxdiff.studio.graph import names
from jaxdiff.studio.graph.engine import Engine
from jaxdiff.studio.graph.graph import read
from jaxdiff.studio.graph.values import of_pipeline
from tests.studio.test_reading import templates
from tests.support.released import write_sd3, write_sdxl

pytestmark = pytest.mark.slow

SMALL = {"ckpt_name": "tiny", "width": 64, "height": 64, "steps": 3}
STAGES = {"10.end_at_step": 2, "11.start_at_step": 2}


def small(content, **changes):
    """A template for the tiny model, with few steps."""
    graph = read(content)
    found = {
        f"{key}.{name}": value
        for key, node in graph.nodes.items()
        for name, value in SMALL.items()
        if name in node.inputs and node.kind != "SDTurboScheduler"
    }
    return graph.changed({**found, **changes})


@pytest.fixture(scope="module")
def content():
    return dict(templates())


def engine_of(write, folder, opener):
    folders = Folders(folder).made()
    write(folders.folder("checkpoints") / "tiny")
    engine = Engine(folders, opener)
    return engine, engine.opened(folders.path("checkpoints", "tiny"))


def drawn(engine, graph):
    (saved,) = engine.run(graph).values()
    files = [engine.folders.folder(saved.folder) / name for name in saved.names]
    return np.stack([np.asarray(Image.open(file), np.int32) for file in files])


def same(found, expected):
    expected = np.round((np.clip(expected, -1, 1) + 1) * 127.5)
    assert np.abs(found - expected).max() <= 1


def test_sdxl(content, opener, tmp_path):
    """Fails if the sizes that the network reads, the second prompt or the grid are others."""
    engine, pipeline = engine_of(write_sdxl, tmp_path, opener)
    graph = small(content["image_sdxl_simple.json"], **{"10.text": "a red cat", "11.text": "dog"})
    seed = {"12.seed": 5}
    expected = pipeline.sample(
        1, "a red cat", negative="dog", seed=5, steps=3, guidance_scale=7.0, solver="DPMpp2M",
        timesteps=Respaced(Linspace(1000, round=False), "karras"),
    )  # fmt: skip
    same(drawn(engine, graph.changed(seed)), expected)
    # Base and refiner, one after the other; the tiny model stands for both.
    two = small(content["sdxl_simple_example.json"], **STAGES)
    assert drawn(engine, two).shape == (1, 16, 16, 3)
    turbo = small(content["sdxlturbo_example.json"])
    assert drawn(engine, turbo).shape == (1, 16, 16, 3)


def test_stable_diffusion_3(content, opener, tmp_path):
    """Fails if the times of the flow, or its shift, are others."""
    engine, pipeline = engine_of(write_sd3, tmp_path, opener)
    graph = small(content["sd3.5_simple_example.json"], **{"16.text": "a red cat", "3.seed": 5})
    model = of_pipeline(pipeline)[0]
    expected = pipeline.sample(
        1, "a red cat", negative="", seed=5, steps=3, guidance_scale=4.01, solver="Euler",
        timesteps=lambda process, steps: names.grid(model, "sgm_uniform", steps),
    )  # fmt: skip
    same(drawn(engine, graph), expected)
