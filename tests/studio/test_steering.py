"""ControlNets in graphs: as the library's own, by their strength and in their steps."""

import numpy as np
import pytest

from jaxdiff.studio.graph.engine import Engine
from jaxdiff.studio.graph.graph import Graph, Link, Node
from jaxdiff.tasks.controls import Map
from tests.studio.test_engine import STEPS, pixels, txt2img


def controlled(**options):
    graph = txt2img()
    steering = {
        "positive": Link("2"), "negative": Link("3"), "control_net": Link("8"), "image": Link("9"),
        "strength": 0.8, "start_percent": 0.0, "end_percent": 1.0, **options,
    }  # fmt: skip
    sampler = graph.nodes["5"]
    inputs = {**sampler.inputs, "positive": Link("10", 0), "negative": Link("10", 1)}
    return Graph(
        {
            **graph.nodes,
            "5": Node(sampler.kind, inputs),
            "8": Node("ControlNetLoader", {"control_net_name": "net"}),
            "9": Node("EmptyImage", {"width": 16, "height": 16, "color": 0x40FF80}),
            "10": Node("ControlNetApplyAdvanced", steering),
        }
    )


def test_a_controlnet_steers_as_in_the_pipeline(folders, opener, net):
    """Fails if the map, its strength or its steps are others than `sample(control=...)` has."""
    engine = Engine(folders, opener)
    found = np.stack(pixels(engine, engine.run(controlled(end_percent=0.5))["7"]))
    base = engine.opened(folders.path("checkpoints", "sd"))
    pipeline = base.with_controlnet(folders.path("controlnet", net))
    values = np.broadcast_to(np.array([0x40, 0xFF, 0x80], np.float32) / 255, (16, 16, 3))
    expected = pipeline.sample(
        2, "a red cat", negative="blue", steps=STEPS, guidance_scale=3.0, seed=5, solver="Euler",
        timesteps="Linspace(round=False)", control=Map(values, 0.8, end=0.5),
    )  # fmt: skip
    expected = np.round((np.clip(expected, -1, 1) + 1) * 127.5)
    assert np.abs(found - expected).max() <= 1
    plain = np.stack(pixels(engine, engine.run(txt2img())["7"]))
    assert np.abs(found - plain).max() > 1
    with pytest.raises(ValueError, match="an area has no ControlNet"):
        graph = controlled()
        area = Node("ConditioningSetArea", {"conditioning": Link("2"), "width": 8, "height": 8})
        steering = {**graph.nodes["10"].inputs, "positive": Link("11")}
        engine.run(Graph({**graph.nodes, "11": area, "10": Node(graph.nodes["10"].kind, steering)}))
