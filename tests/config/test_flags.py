"""Fields set by flags, recipes by name, the help of scripts, and the page of options."""

import ast
import signal
import subprocess
import sys
import time
from pathlib import Path

import cli
import numpy as np
import pytest

from jaxdiff import config as configs
from jaxdiff import options
from jaxdiff.conditioning.loading import load_text_encoder
from jaxdiff.config import listing
from jaxdiff.config.flags import changed, known_fields, separate
from jaxdiff.config.recipes import load_recipe
from jaxdiff.evaluation.report import read_metrics
from jaxdiff.files import atomic_write, check_writable, read_array
from jaxdiff.weights.table import read_fingerprints
from tests.support.forked import environment

ROOT = Path(__file__).parents[2]


def of_flags(*arguments, recipe="digits:flow"):
    config = changed(load_recipe(recipe), separate(arguments)[1])
    configs.check(config)
    return config


def test_the_config_s_flags_are_taken_out_of_the_others():
    typed = (
        "train.py --workdir=a --config=x.py --config.seed=1 --config.train.steps 5"
        " --config.a.b --noconfig.c --traceback -- --config.not=a_flag"
    )
    rest, fields = separate(typed.split())
    assert " ".join(rest) == (
        "train.py --workdir=a --config=x.py --traceback -- --config.not=a_flag"
    )
    assert fields == [("seed", "1"), ("train.steps", "5"), ("a.b", "True"), ("c", "False")]


@pytest.mark.parametrize(
    ("flag", "path", "value"),
    [
        ("train.workers=2", "train.workers", 2),
        ("optimizer.weight_decay=0.1", "optimizer.weight_decay", 0.1),
        ("network.dropout=.2", "network.dropout", 0.2),
        ("network.channels=8,16", "network.channels", (8, 16)),
        ("network.inputs.text_features=4", "network.inputs", {"text_features": 4}),
        ("network=DiT", "network", {"name": "DiT"}),
        ("network=DiT(depth=2)", "network", {"name": "DiT", "depth": 2}),
        ("network={'name': 'MLP'}", "network", {"name": "MLP"}),
        ("sampling.solver=dpm++2m", "sampling.solver", "dpm++2m"),
        ("sampling.solver.eta=0.5", "sampling.solver", {"name": "Euler", "eta": 0.5}),
        ("sampling.solver={'name': 'DDIM'}", "sampling.solver", {"name": "DDIM"}),
        ("time_sampling.std=2.0", "time_sampling.std", 2.0),
        ("conditions=label", "conditions", ("label",)),
        ("transforms=RandomFlip", "transforms", ("RandomFlip",)),
        ("transforms=('RGB', 'RandomFlip')", "transforms", ("RGB", "RandomFlip")),
        ("weights.codec=123", "weights.codec", "123"),
        ("weights.text.t5=a/b", "weights.text", {"t5": "a/b"}),
        ("weights.network.trained=false", "weights.network", {"trained": False}),
        ("data=two_moons(std=0.2)", "data.std", 0.2),
        ("data=two_moons", "data.shape", (8, 8, 1)),
        ("optimizer=sgd", "optimizer.learning_rate", 3e-3),
        ("train={'steps': 3}", "train.steps", 3),
        ("adapters.lora=my_lab:LoRA", "adapters", {"lora": "my_lab:LoRA"}),
        ("parallel=fsdp", "parallel", "fsdp"),
    ],
)
def test_a_flag_sets_any_field(flag, path, value):
    """Fails if a field must be in the recipe, or a text becomes a number where it is a path."""
    found = of_flags(f"--config.{flag}")
    for name in path.split("."):
        found = found[name]
    assert configs.plain(found) == value


def test_options_follow_a_network_that_is_chosen_by_name():
    found = of_flags("--config.network=DiT", "--config.network.depth=4", "--config.seed=3")
    assert found.network.to_dict() == {"name": "DiT", "depth": 4}
    found = of_flags("--config.optimizer.b1=0.5", "--config.optimizer=sgd", recipe="digits")
    assert "b1" not in found.optimizer
    assert found.optimizer.schedule == load_recipe("digits").optimizer.schedule


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("wieght_decay=1", "unknown config field 'wieght_decay'; did you mean 'optimizer.weight_d"),
        ("weight_decay=1", "did you mean 'optimizer.weight_decay'"),
        ("train.step=3", "unknown config field 'train.step'; did you mean 'train.steps'"),
        ("networks=DiT", "unknown config field 'networks'; did you mean 'network'"),
        ("train=3", "config field 'train': it is a section; its fields are steps, log_every"),
        ("train.steps=abc", r"train\.steps is 'abc'; expected an integer from 1"),
        ("train.steps=nan", r"train\.steps is 'nan'; expected an integer from 1"),
        ("seed.x=1", "'seed' has no fields"),
        ("process..x=1", "there is an empty name in it"),
        ("process=:DDIM", "process is ':DDIM'; expected a name of schedules"),
        ("=1", "unknown config field ''"),
        ("network={3}", "is not a table"),
        ("sampling.guidance_scale=1e999", r"sampling\.guidance_scale is inf"),
        ("optimizer.clip_norm=-1", r"optimizer\.clip_norm is -1; expected a number of at least 0"),
    ],
)
def test_a_wrong_flag_is_named_with_the_nearest(flag, message):
    with pytest.raises(ValueError, match=message):
        of_flags(f"--config.{flag}")


def test_every_field_can_be_set_to_its_default():
    """Fails if a field's type is not that of its default, or a flag reads it in another way."""
    default = configs.default()
    for path in known_fields():
        value = default
        for name in path.split("."):
            value = value[name]
        value = configs.plain(value)
        text = value if isinstance(value, str) else repr(value)
        assert of_flags(f"--config.{path}={text}", recipe="digits")


def test_a_recipe_imports_its_neighbours_and_errors_are_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "neighbour_of_recipe.py").write_text("STEPS = 7\n")
    (tmp_path / "here_beside.py").write_text("LOG = 3\n")
    recipe = tmp_path / "lab" / "mine.py"
    recipe.write_text(
        "import here_beside, neighbour_of_recipe\nfrom configs.digits import get_config as base\n"
        "def get_config():\n    config = base()\n"
        "    config.train.steps = neighbour_of_recipe.STEPS\n"
        "    config.train.log_every = here_beside.LOG\n    return config\n"
    )
    assert load_recipe("lab/mine.py").train.steps == 7
    for content, message in {
        "raise SystemExit(3)": "SystemExit: 3",
        "x = 1": "has no function get_config",
        "def get_config(): return 3": "returned 3, not a ConfigDict",
        "def get_config(): return 1 / 0": "ZeroDivisionError",
        "def get_config(:": "SyntaxError",
    }.items():
        recipe.write_text(content)
        with pytest.raises(ValueError, match=rf"mine\.py.*{message}"):
            load_recipe("lab/mine.py")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digitz", "config='digitz': there is no such file.*did you mean 'digits'"),
        ("digits:fow", "no variant 'fow'; did you mean 'flow'"),
        ("cifar10_edm:x", "has no variants"),
        ("", "there is no such file"),
    ],
)
def test_a_recipe_that_there_is_not_is_named(spec, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(spec)


@pytest.mark.parametrize("script", ["train", "sample", "evaluate", "likelihood", "timesteps"])
def test_help_lists_every_flag_of_a_script(script):
    """Fails if a flag is defined in a form that the help does not read."""
    path = ROOT / "experiments" / f"{script}.py"
    text, source = cli.help_of(path), path.read_text() + Path(cli.__file__).read_text()
    called = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    defined = [c for c in called if ast.unparse(c.func).rpartition(".")[2].startswith("DEFINE_")]
    defined += [c for c in called if ast.unparse(c.func) in ("flag", "cli.flag")]
    names = {c.args[0].value for c in defined if isinstance(c.args[0], ast.Constant)}
    sampling = {"changes", "solver", "guidance", "timesteps", "guidance_scale", "steps", "seed"}
    unused = sampling | {"batch_size"}
    unused = set() if "define_sampling_flags" in path.read_text() else unused
    assert {"workdir", "trust", "traceback"} < names
    for name in names - unused:
        assert f"--{name}=" in text
    assert ("--config.FIELD" in text) == (script == "train")


def test_the_page_of_options_is_current():
    """Write it by `python -m jaxdiff options --out=docs/options.md`. Optax changes its own part."""
    ours = lambda text: text.partition("\n## optimizers")[0] + text.partition("\n## learning_")[2]
    assert ours((ROOT / "docs/options.md").read_text()) == ours(listing.page())
    assert "eta = 0.0: a number from 0 to 1" in listing.family_page("solvers")
    with pytest.raises(ValueError, match="no family 'solver'; did you mean 'solvers'"):
        listing.family_page("solver")


def test_every_part_has_a_line_and_every_option_words():
    for family in listing.FAMILIES:
        for name, _ in listing.members(family):
            assert f"{name}" in listing.family_page(family)


def test_a_file_that_cannot_be_written_or_read_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "file" / "out.npy", tmp_path):
        with pytest.raises(OSError, match=rf"{path} cannot be written"):
            check_writable(path)
    full = pytest.raises(OSError, match=r"deep/a\.json cannot be written: No space")
    with full, atomic_write(tmp_path / "deep" / "a.json"):
        raise OSError(28, "No space left on device")
    check_writable(tmp_path / "new" / "out.npy")
    assert not list((tmp_path / "new").iterdir())
    np.save(tmp_path / "texts.npy", np.array(["a"]))
    for name in ("file", "texts.npy", "none.npy"):
        with pytest.raises(ValueError, match=rf"{name}' (is no|cannot be)"):
            read_array(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [(cli.Size, "3", 3), (cli.Number, "2", 2.0), (cli.Text, "3", "3"), (cli.Share, "0.5", 0.5)],
)
def test_flags_have_types_and_ranges(kind, text, value):
    found = cli._Parser(kind).parse(text)
    assert found == value
    assert type(found) is type(value)
    for wrong in ("", "None", "-1", "nan", "[1]") if kind is not cli.Text else ("",):
        if kind is cli.Number and wrong == "-1":
            continue
        with pytest.raises(ValueError, match=options.describe(kind)):
            cli._Parser(kind).parse(wrong)


@pytest.mark.parametrize("text", ["256", "256,", "(256,)", "[256]"])
def test_a_list_of_one_needs_no_comma(text):
    """Fails if one number is refused, or is not a list."""
    assert list(cli._Parser(tuple[cli.Size, ...]).parse(text)) == [256]


@pytest.mark.parametrize("content", [b"[1]", b"3", b"null", b"\xff\xfe", b"{", b"[" * 100_000])
def test_json_of_another_shape_names_the_file(tmp_path, content):
    """Of a run, its metrics and hashes, a released encoder: fails if only syntax is caught."""
    for name in ("config.json", "weights.json"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "metrics.jsonl").write_bytes(content + b"\n" + content + b"\n")
    for read in (configs.read_config, read_fingerprints, load_text_encoder, read_metrics):
        with pytest.raises(ValueError, match=r"(config|weights)\.json|metrics\.jsonl, line 1"):
            read(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.5, 4.0])
def test_ctrl_c_at_any_time_has_no_traceback(tmp_path, seconds):
    """While modules are imported, a run is loaded, or a program is compiled."""
    command = [sys.executable, "experiments/train.py", "--config=digits", f"--workdir={tmp_path}"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=600)[0].decode()
    assert process.returncode in (-signal.SIGINT, 130), printed
    assert "Traceback" not in printed, printed
