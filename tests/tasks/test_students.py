"""Students of a teacher, by config: how they begin, what they ask, and what cannot work."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment
from jaxdiff.config import as_dict
from jaxdiff.diffusion import guidance, schedules
from jaxdiff.diffusion.process import Process
from jaxdiff.files import read_json, write_json
from jaxdiff.runs.publish import publish, rounded
from jaxdiff.tasks import students
from jaxdiff.weights.devices import Devices, make_mesh
from jaxdiff.weights.sources import OfRun
from tests.support.tiny import points_config

UNTIL = {"network.inputs": {"scalars": {"until": 1000.0}}}


def config(**fields):
    config = points_config()
    config.objective, config.time_sampling, config.conditions = "Denoising", "Uniform", ()
    config.sampling.update(guidance_scale=1.0, steps=2)
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    with config.unlocked():
        config.update_from_flattened_dict(fields)
    return config


def experiment(**fields):
    return Experiment(config(**fields), Devices(make_mesh(jax.devices()[:1])))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run, and its average."""
    folder = tmp_path_factory.mktemp("teacher")
    return str(folder), jax.device_get(experiment().train(folder).ema["network"])


def test_a_teacher_s_codec_is_the_student_s_where_a_file_has_lists(tmp_path):
    """Fails if tuples of a recipe differ from the lists of the teacher's file."""
    own = config()
    with own.unlocked(), own.ignore_type():
        own.codec = {"name": "Latents", "autoencoder": {"channels": (4, 4)}}
    write_json(tmp_path / "config.json", as_dict(own))
    students.check_teacher(str(tmp_path), own)
    own.codec.autoencoder.channels = (4, 8)
    with pytest.raises(ValueError, match="has codec="):
        students.check_teacher(str(tmp_path), own)


def test_a_student_begins_as_its_teacher_and_is_sampled_as_what_it_learns(teacher, tmp_path):
    """Fails if it begins elsewhere, the teacher moves, or the sampler refuses what was learned."""
    path, weights = teacher
    files = lambda: {f: f.stat().st_mtime_ns for f in sorted(Path(path).rglob("*"))}
    before = files()
    fields = {"weights.teacher": path, "sampling.solver": "FlowMap", **UNTIL}
    student = experiment(objective="MeanFlow", **fields)
    begun = jax.device_get(student.init())
    for name, tree in weights.items():
        jax.tree.map(np.testing.assert_array_equal, begun.params["network"][name], tree)
    after = student.train(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, after.frozen["teacher"]["network"], weights)
    run = jaxdiff.load(tmp_path, devices=student.devices)
    assert files() == before  # a teacher's folder is only read
    two, heun = run.sample(3), run.sample(3, solver="Heun", steps=3)
    assert np.isfinite(two).all() and np.isfinite(heun).all()
    check_published(run, two, tmp_path, Path(path).name)
    with pytest.raises(ValueError, match=r"process='RectifiedFlow', the teacher 'Cosine': take"):
        experiment(objective="MeanFlow", process="RectifiedFlow", **fields)
    fields |= {"process": "RectifiedFlow", "weights.network": "Random()"}
    anew = experiment(objective="MeanFlow", **fields)
    assert anew.table.entries["network"].source is None


def check_published(run, samples, folder, teacher):
    """Fails if it needs its teacher, or its weights are others than the rounded average."""
    small = folder / "moved" / "small"
    assert publish(run, folder / "small", card="Data: a toy.") < 300_000
    shutil.move(folder / "small", small)
    read = jaxdiff.load(small, devices=run.experiment.devices)
    assert read.config.weights.teacher == "" and "teacher" not in read.weights
    again = jax.tree.map(lambda a: rounded(a).astype(a.dtype), run.weights["network"])
    jax.tree.map(np.testing.assert_array_equal, read.weights["network"], again)
    np.testing.assert_allclose(read.sample(3), samples, atol=0.03)
    source = OfRun(str(small))  # as a teacher, a weak model or an encoder of features is read
    jax.tree.map(np.testing.assert_array_equal, source.load(source.shapes()), again)
    assert read_json(small / "training_config.json")["weights"]["teacher"] == teacher
    assert "Data: a toy." in (small / "README.md").read_text()
    with pytest.raises(ValueError, match=r"objective='Published' has no loss"):
        read.evaluate("HeldOutLoss")
    with pytest.raises(ValueError, match=r"small is not empty: publish into"):
        publish(run, small)


def test_a_fake_score_begins_as_the_student_and_has_an_optimizer_of_its_own(teacher):
    """Fails if it is random, averaged, or moves by the generator's loss or rate."""
    student = experiment(
        **{
            "objective": "DistributionMatching(steps=2)",
            "weights.teacher": teacher[0],
            "sampling.solver": "Consistency",
            "optimizers": {"network": {"learning_rate": 0.0}},
        }
    )
    begun = student.init()
    kept = jax.device_get(begun.params)
    jax.tree.map(np.testing.assert_array_equal, kept["fake_score"], kept["network"])
    assert set(begun.ema) == {"network"}
    batch = {name: next(student.batches())[name] for name in ("x", "position")}
    after, metrics = student.runner.step(begun, student.devices.put(batch), 0)
    jax.tree.map(np.testing.assert_array_equal, after.params["network"], kept["network"])
    moved = jax.tree.map(lambda a, b: np.any(a != b), after.params["fake_score"], kept["network"])
    assert any(jax.tree.leaves(moved))
    assert {"loss_generator", "loss_fake_score"} <= set(metrics)
    with pytest.raises(ValueError, match="reads fake_score, of which no average is kept"):
        student.evaluator.held_out(student.average(begun), 1, 0)


@pytest.mark.parametrize(
    ("objective", "moving"),
    [
        ("AdversarialDistillation(penalty=0.1)", "network"),
        pytest.param("DistributionMatching(adversarial=0.1)", "fake_score", marks=pytest.mark.slow),
    ],
)
def test_a_discriminator_reads_its_trunk_and_has_an_optimizer_of_its_own(
    teacher, objective, moving
):
    """The trunk is the frozen teacher, or the fake score, which moves with the discriminator.

    Fails if it is averaged, moves by another's rate, or the teacher moves.
    """
    still = {} if moving == "network" else {"network": {"learning_rate": 0.0}}
    student = experiment(
        **{
            "objective": objective,
            "weights.teacher": teacher[0],
            "sampling.solver": "Consistency",
            "optimizers": still,
        }
    )
    begun = student.init()
    kept = jax.device_get((begun.params, begun.frozen))
    assert set(begun.ema) == {"network"} and "discriminator" in begun.params
    batch = {name: next(student.batches())[name] for name in ("x", "position")}
    after, metrics = student.runner.step(begun, student.devices.put(batch), 0)
    moved = lambda name: any(
        jax.tree.leaves(
            jax.tree.map(lambda a, b: np.any(a != b), after.params[name], kept[0][name])
        )
    )
    assert moved(moving) and moved("discriminator")
    assert moved("network") == (moving == "network")
    jax.tree.map(np.testing.assert_array_equal, after.frozen, kept[1])
    assert {"real_score", "fake_score"} <= set(metrics)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {
                "objective": "AdversarialDistillation(discriminator="
                "FeatureDiscriminator(layers=('blocks',)))",
                "weights.teacher": "TEACHER",
            },
            "the network has no layer 'blocks' with an output; it has block_0_dropout",
        ),
        ({"objective": "AdversarialDistillation"}, "AdversarialDistillation learns from a teacher"),
        (
            {"objective": "ConsistencyDistillation"},
            r"learns from a teacher: .*weights\.teacher=RUN",
        ),
        (
            {"objective": "MeanFlow"},
            r"MeanFlow: the network has no input 'until'; set network\.inp",
        ),
        (
            {"objective": "EasyConsistency(every=10, stages=3)"},
            "Ratio: its curriculum ends at step 20, after the run's train.steps=2",
        ),
        ({"objective": "ContinuousConsistency"}, "ContinuousConsistency: .* ends at step 10000"),
        ({"sampling.solver": "FlowMap"}, r"solver=FlowMap needs a flow map, which reads 'until'"),
        (
            {"objective": "ConsistencyTraining", "sampling.solver": "DDIM"},
            r"solver=DDIM asks for the mean of the data given x_t, but",
        ),
    ],
)
def test_what_an_objective_lacks_is_named_before_anything_is_compiled(fields, message, teacher):
    if "weights.teacher" in fields:
        fields = {**fields, "weights.teacher": teacher[0]}
    with pytest.raises(ValueError, match=message):
        experiment(**fields)


def test_guidance_that_a_model_reads_is_an_input_and_nothing_besides():
    """Scale and interval go to the network; fails if they are dropped, or applied outside of it."""
    scale = {"guidance_scale": 1.0}
    whole = {**scale, "guidance_from": 1.0, "guidance_to": 1.0}
    process = Process(schedules.RectifiedFlow())
    interval = guidance.Interval(process, 3.0, low=0.4, high=0.65)
    seen = []
    denoiser = lambda x, t, cond: seen.append({n: float(c[0]) for n, c in cond.items()})
    for guide, scalars in [
        (guidance.ClassifierFree(3.0), scale),
        (guidance.ClassifierFree(3.0), whole),
        (interval, whole),
    ]:
        found = students.guidance_of(guide, 3.0, scalars, 1.0)
        found(denoiser)(np.zeros((2, 3), np.float32), np.ones(2), {})
    ends = lambda low, high: {"guidance_scale": 3.0, "guidance_from": low, "guidance_to": high}
    assert seen == [{"guidance_scale": 3.0}, ends(0.0, 1.0), pytest.approx(ends(0.4, 0.65))]
    twice = r"guidance=Interval: .*applied twice; take ClassifierFree"
    with pytest.raises(ValueError, match=twice + "$"):
        students.guidance_of(interval, 3.0, scale, 1.0)
    noise = guidance.Interval(process, 3.0, low=0.4, high=9.0, unit="noise")
    with pytest.raises(ValueError, match=twice + ", or Interval"):
        students.guidance_of(noise, 3.0, whole, 1.0)


def test_guidance_within_a_teacher_is_its_students_and_is_not_to_be_applied_twice(tmp_path):
    """By the configs of the runs alone; fails if a student of a guided model counts as plain."""
    guided = "MeanFlow(guidance_scale=1.0, own_share=0.5)"
    for name, objective, teacher in [
        ("first", guided, ""),
        ("second", "TrajectoryConsistency", "first"),
        ("third", "DistributionMatching(guidance_scale=3.0)", "second"),
        ("gone", "TrajectoryConsistency", "nowhere"),
    ]:
        (tmp_path / name).mkdir()
        path = str(tmp_path / teacher) if teacher else ""
        fields = {"objective": objective, "weights.teacher": path}
        (tmp_path / name / "config.json").write_text(config(**fields).to_json())
    of = lambda name: students.guidance_of_run(str(tmp_path / name), (2,))
    assert [of("first"), of("second"), of("gone")] == [2.0, 2.0, 1.0]
    with pytest.warns(UserWarning, match=r"guidance of 3 on top of the scale 2 .*applied twice"):
        assert of("third") == 6.0


def test_fast_embeddings_of_the_time_are_warned_of_where_tangents_are_taken():
    fast = {"name": "MLP", "features": 8, "time_sinusoids": "Fourier"}
    fields = {"network": {**fast, "inputs": {"scalars": {"until": 1.0}}}}
    with pytest.warns(UserWarning, match=r"MeanFlow differentiates the network in time, .*SinCos"):
        experiment(objective="MeanFlow", **fields)


def test_a_teacher_with_less_noise_or_more_conditions_is_named(tmp_path):
    """By its config alone, which says so before any weights are read."""
    for name, fields in {
        "quiet": {"process": "EDM(sigma_max=2.0)", "parameterization": "edm"},
        "labelled": {"conditions": ("label",)},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(config(**fields).to_json())
    student = lambda name: experiment(
        **{"objective": "Reflow", "weights.teacher": str(tmp_path / name)}
    )
    with pytest.raises(ValueError, match=r"EDM\(sigma_max=2.0\) has log-SNRs from .*Cosine"):
        student("quiet")
    with pytest.raises(ValueError, match=r"has the conditions \['label'\], which the student lack"):
        student("labelled")
    (tmp_path / "latent").mkdir()
    (tmp_path / "latent" / "config.json").write_text(
        config(codec={"name": "Latents", "autoencoder": "sd_vae"}).to_json()
    )
    with pytest.raises(ValueError, match=r"has codec=.*Latents.*, the student .*Pixels"):
        student("latent")
    with pytest.raises(ValueError, match=r"is of data of shape \(2,\), not \(3,\)"):
        experiment(**{"weights.teacher": str(tmp_path / "labelled"), "data.shape": (3,)})
