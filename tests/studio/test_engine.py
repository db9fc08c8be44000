"""Graphs on a tiny Stable Diffusion: equal to the library's own pictures, kept, compiled."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxdiff.diffusion.timesteps import Linspace
from jaxdiff.studio.folders import Folders
from jaxdiff.studio.graph import program
from jaxdiff.studio.graph.engine import Engine, InterruptedRunError, NodeError
from jaxdiff.studio.graph.graph import Graph, Link, Node, read
from tests.support.released import write_refiner

STEPS = 3


@pytest.fixture(scope="module")
def engine(folders, opener):
    return Engine(folders, opener)


def txt2img(**sampler):
    """The graph that every tool begins with, at the size of the tiny model."""
    chosen = {"seed": 5, "steps": STEPS, "cfg": 3.0, "sampler_name": "euler", "denoise": 1.0}
    links = {"model": Link("1"), "positive": Link("2"), "negative": Link("3")}
    return Graph(
        {
            "1": Node("CheckpointLoaderSimple", {"ckpt_name": "sd"}),
            "2": Node("CLIPTextEncode", {"text": "a red cat", "clip": Link("1", 1)}),
            "3": Node("CLIPTextEncode", {"text": "blue", "clip": Link("1", 1)}),
            # The nodes count 8 pixels for a latent; those of this model are 2 wide.
            "4": Node("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 2}),
            "5": Node(
                "KSampler",
                {**chosen, "scheduler": "normal", **links, "latent_image": Link("4"), **sampler},
            ),
            "6": Node("VAEDecode", {"samples": Link("5"), "vae": Link("1", 2)}),
            "7": Node("SaveImage", {"images": Link("6"), "filename_prefix": "a"}),
        }
    )


def pixels(engine, saved):
    folder = engine.folders.folder(saved.folder)
    return [np.asarray(Image.open(folder / name), np.int32) for name in saved.names]


def test_a_graph_draws_what_the_pipeline_draws(engine):
    """Fails if seed, grid, prompt, guidance or size mean another thing in a graph."""
    graph, ran = txt2img(), []
    saved = engine.run(graph, started=lambda key, kept: ran.append((key, kept)))["7"]
    found = pixels(engine, saved)
    pipeline = engine.opened(engine.folders.path("checkpoints", "sd"))
    expected = pipeline.sample(
        2, "a red cat", negative="blue", steps=STEPS, guidance_scale=3.0, seed=5,
        solver="Euler", timesteps=Linspace(1000, round=False),
    )  # fmt: skip
    expected = np.round((np.clip(expected, -1, 1) + 1) * 127.5)
    assert np.abs(np.stack(found) - expected).max() <= 1
    assert [key for key, _ in ran] == ["1", "4", "2", "3", "5", "6", "7"]
    text = Image.open(engine.folders.folder("output") / saved.names[0]).info["prompt"]
    assert read(json.loads(text)).nodes["5"].inputs["seed"] == 5
    # Only what changed runs again.
    ran.clear()
    again = engine.run(graph.changed({"3.text": "dog"}), started=lambda *a: ran.append(a))["7"]
    assert [key for key, kept in ran if not kept] == ["3", "5", "6", "7"]
    assert again.names != saved.names
    assert np.abs(np.stack(pixels(engine, again)) - np.stack(found)).max() > 1
    # One program of the whole graph draws the same; another prompt, seed or scale compiles nothing.
    whole = program.run(graph, engine)["7"]
    assert np.abs(np.stack(pixels(engine, whole)) - np.stack(found)).max() <= 1
    compiled = program._run._cache_size()
    others = {"2.text": "dog", "5.seed": 2**63 + 3, "5.cfg": 4.0}
    other = program.run(graph.changed(others), engine)["7"]
    assert program._run._cache_size() == compiled
    eager = engine.run(graph.changed(others))["7"]
    assert np.abs(np.stack(pixels(engine, other)) - np.stack(pixels(engine, eager))).max() <= 1


def test_prompts_have_weights(engine):
    """Fails if brackets are words, or mean another thing than in the library."""
    graph = txt2img().changed({"2.text": "a (red:1.5) cat", "3.text": "[blue]"})
    found = np.stack(pixels(engine, engine.run(graph)["7"]))
    pipeline = engine.opened(engine.folders.path("checkpoints", "sd")).with_prompts(emphasis=True)
    options = {"steps": STEPS, "guidance_scale": 3.0, "seed": 5, "solver": "Euler"}
    options["timesteps"] = Linspace(1000, round=False)
    expected = pipeline.sample(2, "a (red:1.5) cat", negative="[blue]", **options)
    expected = np.round((np.clip(expected, -1, 1) + 1) * 127.5)
    assert np.abs(found - expected).max() <= 1
    plain = np.stack(pixels(engine, engine.run(txt2img())["7"]))
    assert np.abs(found - plain).max() > 1
    # Longer prompts than the window are cut, as they are without weights.
    long = "a (red:1.5) cat " * 60
    cut = engine.run(graph.changed({"2.text": long}))["7"]
    again = engine.run(graph.changed({"2.text": long + "dog"}))["7"]
    np.testing.assert_array_equal(pixels(engine, cut), pixels(engine, again))


def test_samples_of_several_seeds_are_those_of_each(engine):
    """Fails if a sample's noise depends on the others of its batch: the queue joins requests."""
    pipeline = engine.opened(engine.folders.path("checkpoints", "sd"))
    options = {"steps": STEPS, "guidance_scale": 3.0, "solver": "Euler", "negative": "blue"}
    options["timesteps"] = Linspace(1000, round=False)
    two = pipeline.sample(2, {"text": ["a red cat", "dog"]}, seed=[5, 9], first=[0, 3], **options)
    alone = [
        pipeline.sample(2, "a red cat", seed=5, **options)[0],
        pipeline.sample(2, "dog", seed=9, first=3, **options)[0],
    ]
    np.testing.assert_allclose(two, alone, atol=1e-4)


def test_sampling_in_two_parts_is_sampling(engine):
    """Fails if leftover noise is scaled wrongly, or a step is lost or done twice."""
    whole = engine.run(txt2img())["7"]
    graph = txt2img()
    names = ("model", "positive", "negative", "steps", "cfg", "sampler_name", "scheduler")
    shared = {name: graph.nodes["5"].inputs[name] for name in names}
    first = Node(
        "KSamplerAdvanced",
        {
            **shared, "add_noise": "enable", "noise_seed": 5, "latent_image": Link("4"),
            "start_at_step": 0, "end_at_step": 2, "return_with_leftover_noise": "enable",
        },
    )  # fmt: skip
    second = Node(
        "KSamplerAdvanced",
        {
            **shared, "add_noise": "disable", "noise_seed": 9, "latent_image": Link("8"),
            "start_at_step": 2, "end_at_step": 10000, "return_with_leftover_noise": "disable",
        },
    )  # fmt: skip
    halves = engine.run(Graph({**graph.nodes, "8": first, "5": second}))["7"]
    difference = np.stack(pixels(engine, halves)) - np.stack(pixels(engine, whole))
    assert np.abs(difference).max() <= 1


def test_a_watcher_sees_steps_and_ends_them(engine):
    """Fails if steps go on after the end, or what a broken run left is taken for its result."""
    graph, seen = txt2img(), []

    def watch(step, steps, x0):
        seen.append((step, steps, np.asarray(x0).shape))
        return step < 2

    expected = engine.run(graph)["7"]
    engine._kept.clear()
    with pytest.raises(InterruptedRunError, match=r"node 5 \(KSampler\)"):
        engine.run(graph, watch=watch)
    assert seen[:2] == [(1, STEPS, (2, 8, 8, 4)), (2, STEPS, (2, 8, 8, 4))]
    whole = engine.run(graph, watch=lambda step, steps, x0: True)["7"]
    assert np.abs(np.stack(pixels(engine, whole)) - np.stack(pixels(engine, expected))).max() <= 1


def test_errors_name_their_node(engine):
    graph = txt2img().changed({"4.width": 72})
    with pytest.raises(NodeError, match=r"node 5 \(KSampler\): .*18x16 pixels"):
        engine.run(graph)
    with pytest.raises(ValueError, match=r"there is no 'se' in checkpoints; known: sd"):
        engine.run(txt2img().changed({"1.ckpt_name": "se"}))
    for name in ("../sd", "/etc/passwd", "sd/../../../x"):
        with pytest.raises(ValueError, match="there is no"):
            engine.run(txt2img().changed({"1.ckpt_name": name}))
        with pytest.raises(NodeError, match="is no name of a file within its folder"):
            engine.run(txt2img().changed({"7.filename_prefix": name}))


def test_the_refiner_draws_in_graphs(tmp_path, opener):
    """Fails if the refiner reads another size or score, or the same score for what is led from."""
    folders = Folders(tmp_path).made()
    write_refiner(folders.folder("checkpoints") / "sd")
    engine = Engine(folders, opener)
    pipeline = engine.opened(folders.path("checkpoints", "sd"))
    options = {
        "seed": 5, "steps": STEPS, "guidance_scale": 3.0, "solver": "Euler", "negative": "blue",
        "timesteps": Linspace(1000, round=False), "size": (16, 16),
    }  # fmt: skip
    drawn = lambda graph: np.stack(pixels(engine, engine.run(graph)["7"]))
    same = lambda found, expected: (
        np.abs(found - np.round((np.clip(expected, -1, 1) + 1) * 127.5)).max() <= 1
    )
    plain = drawn(txt2img())
    assert same(plain, pipeline.sample(2, "a red cat", **options))
    words = {"text": "a red cat", "clip": Link("1", 1), "width": 16, "height": 16}
    scored = Node("CLIPTextEncodeSDXLRefiner", {**words, "ascore": 9.0})
    found = drawn(Graph({**txt2img().nodes, "2": scored}))
    cond = {"text": "a red cat", "aesthetic_score": [9.0]}
    assert same(found, pipeline.sample(2, cond, **options))
    assert np.abs(found - plain).max() > 1
