"""What a run's folder may name: parts of this package, and of modules that a person allowed."""

import itertools
import json
import os
import sys

import pytest

import jaxdiff
from jaxdiff import config as configs
from jaxdiff.config import trusted
from jaxdiff.config.build import build
from jaxdiff.config.specs import parse
from jaxdiff.data.sources import open_source
from jaxdiff.diffusion import schedules, solvers
from jaxdiff.pretrained.files import open_tensors, resolve
from jaxdiff.tasks.model import model_of_run
from jaxdiff.training import learning_rate
from jaxdiff.weights import sources


@pytest.fixture(autouse=True)
def ran(monkeypatch):
    """Everything that the specs below would run; and no module is trusted afterwards."""
    called = []
    monkeypatch.setattr(os, "system", called.append)
    monkeypatch.setattr(trusted, "_trusted", {"jaxdiff"})
    return called


def run_with(folder, fields):
    config = configs.default().to_dict()
    for path, value in fields.items():
        section = config
        for name in path.split(".")[:-1]:
            section = section[name]
        section[path.rpartition(".")[2]] = value
    (folder / "config.json").write_text(json.dumps(configs.as_dict(config)))
    return folder


ATTACKS = [
    {"process": "os:system(command='ls')"},
    {"process": {"name": "os:system", "command": "ls"}},
    {"process": " os : system (command='ls')"},
    {"process": "LogSNRShift(of='os:system(command=1)')"},
    {"network": {"name": "UNet", "inputs": {"name": "os:system", "command": "ls"}}},
    {"evaluation.evaluators": ["SampleGrid", "shutil:rmtree(path='.')"]},
    {"transforms": [{"name": "shutil:rmtree", "path": "."}]},
    {"data.name": "antigravity:geohash"},
    {"adapters": {"a": "my_lab:Adapter"}},
    {"weights.network": "my_lab:Source(path='a')"},
    {"weights.network": {"source": "my_lab:Source(path='a')"}},
    {"optimizers": {"network": {"name": "my_lab:sgd"}}},
    {"sampling.solver": ".relative:Solver"},
]
UNREADABLE = [
    "antigravity:x y",
    "antigravity:x+y",
    "antigravity:x-",
    "antigravity:",
    "antigravity:1",
]


@pytest.mark.parametrize("fields", ATTACKS)
def test_a_config_of_a_file_names_no_module_that_is_not_allowed(tmp_path, ran, fields):
    """Fails if anything is imported or called, for a run, or for one that another names."""
    run_with(tmp_path, fields)
    before = set(sys.modules)
    for read in (jaxdiff.load, lambda path: model_of_run(path, (8, 8, 1))):
        with pytest.raises(ValueError, match=r"of a module that is not jaxdiff's.*--trust="):
            read(str(tmp_path))
    assert not ran
    assert "antigravity" not in set(sys.modules) - before


@pytest.mark.parametrize("spec", UNREADABLE)
def test_a_module_is_imported_for_a_plain_name_only(tmp_path, spec):
    """Fails if a name that no check sees as a module's is imported all the same."""
    run_with(tmp_path, {"process": spec})
    with pytest.raises(ValueError, match="antigravity"):
        jaxdiff.load(str(tmp_path))
    with pytest.raises(ValueError, match="antigravity"):
        build(schedules, spec)
    assert "antigravity" not in sys.modules


def test_no_spec_with_a_module_escapes_the_check():
    """All short texts of a few letters; fails if `parse` reads a module where trust sees none."""
    seen = 0
    for letters in itertools.product("a:. +(\n", repeat=5):
        text = "".join(letters)
        try:
            outside = parse(text).module
        except ValueError:
            continue
        seen += bool(outside)
        assert not outside or trusted.REFERENCE.fullmatch(text), text
    assert seen > 10


def test_a_person_allows_a_module_and_those_below_it(tmp_path):
    run_with(tmp_path, {"process": "my_lab.parts:Mine"})
    with pytest.raises(ValueError, match="--trust=my_lab"):
        configs.read_config(tmp_path)
    configs.trust("my_la", "other")
    with pytest.raises(ValueError, match="--trust=my_lab"):
        configs.read_config(tmp_path)
    configs.trust("my_lab")
    assert configs.read_config(tmp_path).process == "my_lab.parts:Mine"
    with pytest.raises(ValueError, match="is no name of a module"):
        configs.trust("my-lab; ls")


@pytest.mark.parametrize(
    "text",
    ["mnist:3.0.1", "a photo of: a cat", "12:30", "http://host/file", "C:\\runs", "a:b c"],
)
def test_texts_that_name_no_part_are_left_alone(tmp_path, text):
    run_with(tmp_path, {"evaluation.evaluators": [f"SampleGrid(cond={{'text': [{text!r}]}})"]})
    assert configs.read_config(tmp_path)


def factory() -> schedules.Cosine:
    return schedules.Cosine()


def silent():
    return schedules.Cosine()


@pytest.mark.parametrize(
    "spec",
    [
        "os:system(command='ls')",
        "os:abort",
        "jaxdiff.files:write_json(path='x', value=1)",
        "builtins:print",
        "builtins:list",
        "jaxdiff.diffusion.solvers:Heun",
        f"{__name__}:silent",
    ],
)
def test_a_flag_names_parts_of_the_family_only(ran, spec):
    """Fails if something is called to find out what it is."""
    for family in (schedules, solvers, learning_rate, sources):
        if "Heun" in spec and family is solvers:
            continue
        with pytest.raises(ValueError, match="is no "):
            build(family, spec)
    assert not ran


def test_a_factory_says_by_its_annotation_what_it_makes():
    assert build(schedules, f"{__name__}:factory") == schedules.Cosine()


@pytest.mark.parametrize("spec", [":DDIM", "::DDIM", "a b:DDIM", "os.path:", ""])
def test_an_empty_module_or_name_is_no_spec(spec):
    with pytest.raises(ValueError, match="not a name"):
        build(solvers, spec)


@pytest.mark.parametrize("name", ["os:system", "os:getcwd", "builtins:print", "json:loads"])
def test_a_data_set_of_one_s_own_takes_a_split(ran, name):
    with pytest.raises(ValueError, match="neither a TFDS builder nor"):
        open_source(name, "train")
    assert not ran


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", 3])
def test_shards_lie_beside_their_index(tmp_path, shard):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ValueError, match="no file beside it"):
        open_tensors(index)


@pytest.mark.parametrize(
    "name", ["../a/b", "./a/b", "~/a/b", "a/../b", "a//b", "a\\b/c", "a/b?c", "here/model"]
)
def test_paths_that_are_missing_are_not_looked_for_on_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(ValueError, match="there is no file or folder") as found:
        resolve(name)
    assert "huggingface" not in str(found.value)
