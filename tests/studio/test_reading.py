"""Workflows as they are read: both forms, subgraphs, nodes that pass on, public templates."""

import json
from importlib import resources

import pytest

from jaxdiff.studio.graph import checking, ports
from jaxdiff.studio.graph.checking import GraphError, check, problems
from jaxdiff.studio.graph.graph import Graph, Link, Node, read, value_of

PASSING = ("Note", "MarkdownNote", "Reroute", "PrimitiveNode")


def node(key, kind, inputs=(), outputs=(), values=(), **more):
    ports = [{"name": n, "type": t, "link": link} for n, t, link in inputs]
    outs = [{"name": t, "type": t, "links": []} for t in outputs]
    return {
        "id": key, "type": kind, "mode": 0, "inputs": ports, "outputs": outs,
        "widgets_values": list(values), **more,
    }  # fmt: skip


def saved():
    """A workflow with a subgraph, a reroute, a primitive, a bypassed and a muted node."""
    inner = {
        "id": "deep",
        "nodes": [
            node(
                3,
                "KSampler",
                [("model", "MODEL", 1), ("positive", "CONDITIONING", 2), ("steps", "INT", 3)],
                ["LATENT"],
                [5, "randomize", 20, 7, "euler", "karras", 1],
            )
        ],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 0},
            {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 3, "target_slot": 1},
            {"id": 3, "origin_id": -10, "origin_slot": 2, "target_id": 3, "target_slot": 2},
            {"id": 4, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0},
        ],
        "inputs": [
            {"name": "model", "type": "MODEL"},
            {"name": "positive", "type": "CONDITIONING"},
            {"name": "steps", "type": "INT"},
        ],
        "outputs": [{"name": "LATENT", "type": "LATENT"}],
    }
    nodes = [
        node(1, "CheckpointLoaderSimple", [], ["MODEL", "CLIP", "VAE"], ["sd.safetensors"]),
        node(2, "Reroute", [("", "*", 11)], ["MODEL"]),
        node(4, "deep", [("model", "MODEL", 12), ("positive", "CONDITIONING", 13)], ["LATENT"],
             [9]),
        node(5, "CLIPTextEncode", [("clip", "CLIP", 14), ("text", "STRING", 19)], ["CONDITIONING"]),
        node(6, "LoraLoader", [("model", "MODEL", 15), ("clip", "CLIP", 16)], ["MODEL", "CLIP"],
             ["a.safetensors", 1, 1], mode=4),
        node(7, "VAEDecode", [("samples", "LATENT", 17), ("vae", "VAE", 18)], ["IMAGE"]),
        node(8, "PrimitiveNode", [], ["STRING"], ["a cat", "fixed"]),
        node(9, "SaveImage", [("images", "IMAGE", 20)], [], ["x"]),
        node(10, "SaveImage", [("images", "IMAGE", 21)], [], ["y"], mode=2),
        node(11, "Note", values=["words"]),
    ]  # fmt: skip
    links = [
        [11, 6, 0, 2, 0, "MODEL"], [12, 2, 0, 4, 0, "MODEL"], [13, 5, 0, 4, 1, "CONDITIONING"],
        [14, 6, 1, 5, 0, "CLIP"], [15, 1, 0, 6, 0, "MODEL"], [16, 1, 1, 6, 1, "CLIP"],
        [17, 4, 0, 7, 0, "LATENT"], [18, 1, 2, 7, 1, "VAE"], [19, 8, 0, 5, 1, "STRING"],
        [20, 7, 0, 9, 0, "IMAGE"], [21, 7, 0, 10, 0, "IMAGE"],
    ]  # fmt: skip
    return {"nodes": nodes, "links": links, "definitions": {"subgraphs": [inner]}}


def test_a_saved_workflow_becomes_flat():
    """Fails if a widget gets another's value, or a node that passes on is followed wrongly."""
    graph = read(saved())
    assert graph.nodes == {
        "1": Node("CheckpointLoaderSimple", {"ckpt_name": "sd.safetensors"}),
        "4:3": Node(
            "KSampler",
            {
                "seed": 5, "steps": 9, "cfg": 7, "sampler_name": "euler", "scheduler": "karras",
                "denoise": 1, "model": Link("1", 0), "positive": Link("5", 0),
            },
        ),
        "5": Node("CLIPTextEncode", {"clip": Link("1", 1), "text": "a cat"}),
        "7": Node("VAEDecode", {"samples": Link("4:3", 0), "vae": Link("1", 2)}),
        "9": Node("SaveImage", {"images": Link("7", 0), "filename_prefix": "x"}),
    }  # fmt: skip
    api = graph.to_api()
    assert api["7"]["inputs"] == {"samples": ["4:3", 0], "vae": ["1", 2]}
    again = read(json.loads(json.dumps(api)))
    assert {k: (n.kind, n.inputs) for k, n in again.nodes.items()} == {
        k: (n.kind, n.inputs) for k, n in graph.nodes.items()
    }


def test_a_subgraph_in_itself_is_an_error():
    workflow = saved()
    workflow["definitions"]["subgraphs"][0]["nodes"].append(node(5, "deep"))
    with pytest.raises(ValueError, match="is one in itself"):
        read(workflow)
    with pytest.raises(ValueError, match="this is no workflow"):
        read({"a": 1})
    with pytest.raises(ValueError, match=r"the workflow is damaged: KeyError 'type'"):
        read({"nodes": [{"id": 1}]})


def test_values_are_set_by_place():
    graph = read(saved()).changed({"4:3.seed": 7})
    assert graph.nodes["4:3"].inputs["seed"] == 7
    with pytest.raises(ValueError, match=r"no input 'sed'; did you mean 'seed'"):
        graph.changed({"4:3.sed": 7})
    with pytest.raises(ValueError, match="no node '33'"):
        graph.changed({"33.seed": 7})
    assert [value_of(text) for text in ("7", "true", "a cat", "[1]")] == [7, True, "a cat", [1]]


def test_a_graph_is_checked_whole():
    """Fails if a problem hides another, or something runs that cannot."""
    whole = read(saved())
    changes = {
        "4:3.steps": 0,
        "4:3.sampler_name": "eulr",
        "4:3.positive": Link("1", 1),
        "9.images": Link("7", 3),
        "5.text": 3,
    }
    graph = Graph({**whole.changed(changes).nodes, "12": Node("KSamplr", {})})
    with pytest.raises(GraphError) as caught:
        check(graph)
    message = str(caught.value)
    for words in (
        "node 12 (KSamplr): there is no node 'KSamplr' here; did you mean 'KSampler'",
        "node 4:3 (KSampler): steps: is 0; expected an integer from 1 to",
        "sampler_name: is 'eulr', which is not here; did you mean",
        "positive: CLIP is no CONDITIONING",
        "negative: is missing; it takes CONDITIONING",
        "images: links to output 3 of VAEDecode, which has 1",
        "node 5 (CLIPTextEncode): text: is 3; expected a text",
    ):
        assert words in message
    ring = {
        "1": Node("ImageInvert", {"image": Link("2")}),
        "2": Node("ImageInvert", {"image": Link("1")}),
        "3": Node("PreviewImage", {"images": Link("1")}),
    }
    with pytest.raises(GraphError, match="a circle"):
        check(Graph(ring))
    with pytest.raises(GraphError, match="no node saves or shows anything"):
        check(Graph({"1": Node("EmptyImage", {})}))
    # What no output needs may be unfinished.
    graph = {"1": Node("EmptyImage", {}), "2": Node("PreviewImage", {"images": Link("1")})}
    assert check(Graph({**graph, "3": Node("VAEDecode", {})})) == ["1", "2"]


def templates():
    package = pytest.importorskip("comfyui_workflow_templates_json")
    for file in sorted(resources.files(package).joinpath("templates").iterdir()):
        if file.name.endswith(".json"):
            content = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(content, dict) and "nodes" in content:
                yield file.name, content


def kinds_of(content):
    """The functions of all nodes that may run, found without following any link."""
    subgraphs = {each["id"]: each for each in content.get("definitions", {}).get("subgraphs", [])}
    for each in content["nodes"]:
        if each["mode"] not in (2, 4) and each["type"] not in PASSING:
            if each["type"] in subgraphs:
                deeper = {**content, "nodes": subgraphs[each["type"]]["nodes"]}
                yield from kinds_of(deeper)
            else:
                yield each["type"]


OURS = ("image_sdxl_simple.json", "sd3.5_simple_example.json", "sdxl_simple_example.json")
"""Templates of Stable Diffusion that run whole."""


def test_each_public_template_runs_or_names_what_it_lacks():
    """Fails if a node is lost, invented or misnamed, or a value comes to another widget."""
    available, count, whole = set(ports.known()), 0, {}
    for name, content in templates():
        graph, count = read(content), count + 1
        kinds = set(kinds_of(content))
        assert {each.kind for each in graph.nodes.values()} == kinds, name
        assert set(checking.lacking(graph)) == kinds - available, name
        if kinds <= available:
            whole[name] = [str(each) for each in problems(graph)]
    assert count >= 600
    # What is in the way of the others are models of other families, by their names.
    for name, found in whole.items():
        assert all(", which is not here" in words for words in found), (name, found)
    assert not any(whole[name] for name in OURS)


def test_widgets_by_position_are_those_by_name():
    """The templates that have both say so; fails if our order of widgets is another."""
    checked = set()
    for name, content in templates():
        subgraphs = content.get("definitions", {}).get("subgraphs", [])
        every = [*content["nodes"], *(each for s in subgraphs for each in s["nodes"])]
        for each in every:
            named = each.get("widgets_values_named")
            # A widget that another brings, "format.codec", is in some files only.
            if not named or len(named) != len(each["widgets_values"]):
                continue
            if each["type"] not in ports.known() or "." in "".join(named):
                continue
            one = {**each, "mode": 0, "inputs": [], "widgets_values_named": None}
            found = read({"nodes": [one], "links": []}).nodes[str(each["id"])].inputs
            # Values by name may be older than those by position: their names count.
            values = dict(zip(named, each["widgets_values"], strict=True))
            known = {n: v for n, v in values.items() if n in ports.find(each["type"]).ports}
            assert {n: found.get(n) for n in known} == known, (name, each["type"])
            checked.add(each["type"])
    assert {"KSampler", "KSamplerAdvanced", "LoadImage", "SaveVideo", "RandomNoise"} <= checked
