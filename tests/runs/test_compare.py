"""Runs side by side: what differs, means over seeds, effects, and the table."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxdiff.evaluation.comparison import save_curves, save_effects, save_side_by_side
from jaxdiff.runs import compare


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """2 processes x 3 seeds, whose losses are known."""
    folder = tmp_path_factory.mktemp("runs")
    for process, base in (("EDM", 1.0), ("Cosine", 2.0)):
        for seed in range(3):
            run = folder / f"process={process},seed={seed}"
            run.mkdir()
            config = {"process": process, "seed": seed, "train": {"steps": 2}}
            (run / "config.json").write_text(json.dumps(config))
            lines = [
                {"step": 1, "loss": 9.0, "loss_by_logsnr": {"-1": 3.0}},
                {"step": 2, "loss": base + seed / 10},
                {"step": 2, "evaluation": {"held_out_loss": base}},
            ]
            text = "".join(json.dumps(x) + "\n" for x in lines)
            (run / "metrics.jsonl").write_text(text + '{"step": 3, "lo')  # cut short by a crash
    return folder


def test_a_record_has_what_differs_and_the_last_figures(folder):
    """Fails if a field that is the same in all runs is a column, or an earlier value counts."""
    found = compare.records(folder)
    assert [dict(each.fields) for each in found][:2] == [
        {"process": "Cosine", "seed": 0},
        {"process": "Cosine", "seed": 1},
    ]
    assert found[1].figures == {"loss": 2.1, "evaluation.held_out_loss": 2.0}
    assert found[1].curve == ([1, 2], [9.0, 2.1])
    assert compare.figures_of(folder / "none") == {}
    with pytest.raises(ValueError, match="has no runs"):
        compare.records(folder / "process=EDM,seed=0" / "samples")


def test_means_over_seeds_come_best_first_with_intervals(folder):
    found = compare.over_seeds(compare.records(folder), "loss")
    assert [row["process"] for row in found] == ["EDM", "Cosine"]
    assert found[0]["loss"] == pytest.approx(1.1)
    low, high = found[0]["interval"]
    assert 1.0 <= low < 1.1 < high <= 1.2
    assert found[0]["runs"] == 3
    with pytest.raises(ValueError, match=r"metric='fid' is in no run; there are .*held_out_loss"):
        compare.over_seeds(compare.records(folder), "fid")


def test_the_effect_of_a_field_is_the_mean_over_all_others(folder):
    found = compare.effects(compare.records(folder), "loss")
    assert found["process"] == {"Cosine": pytest.approx(2.1), "EDM": pytest.approx(1.1)}
    assert found["seed"]["2"] == pytest.approx(1.7)


def test_a_table_has_a_cell_for_each_name():
    table = compare.markdown([{"a": 1.23456, "b": "x|y"}, {"a": None, "c": (1.0, 2.0)}])
    assert table.splitlines() == [
        "| a | b | c |",
        "| --- | --- | --- |",
        "| 1.235 | x\\|y |  |",
        "|  |  | 1 to 2 |",
    ]


def test_pictures_of_runs(folder, tmp_path):
    found = compare.records(folder)
    save_curves(tmp_path / "curves.png", {each.name: each.curve for each in found})
    save_effects(tmp_path / "effects.png", compare.effects(found, "loss"), "loss")
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((8, 8), 128, np.uint8)).save(grey)
    save_side_by_side(tmp_path / "sheet.png", {str(i): grey for i in range(5)}, columns=2)
    for name in ("curves.png", "effects.png", "sheet.png"):
        assert np.asarray(Image.open(tmp_path / name)).std() > 1


def test_a_notebook_has_the_table_as_a_data_frame(folder):
    found = compare.frame(folder)
    assert found.loc["process=EDM,seed=2", "loss"] == pytest.approx(1.2)
    assert found.groupby("process")["loss"].mean()["Cosine"] == pytest.approx(2.1)
