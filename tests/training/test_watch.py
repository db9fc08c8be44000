"""The wait for data, MFU, and the profile of some steps."""

import time
from pathlib import Path

import jax.numpy as jnp
import pytest

from jaxdiff.training.watch import Watch, window


def test_figures_are_those_of_the_window():
    """Fails if a wait or the steps of an earlier window are counted again."""
    watch = Watch(Path("unused"), seconds_at_peak=0.25)
    with watch.waiting():
        time.sleep(0.02)
    first = watch.figures(steps_per_second=2.0, steps=1)
    assert first["mfu"] == 0.5
    assert 0.04 <= first["input_wait"] <= 1
    assert watch.figures(steps_per_second=2.0, steps=1)["input_wait"] == 0
    assert "mfu" not in Watch(Path("unused")).figures(1.0, 1)


def test_a_profile_has_the_steps_of_its_window(tmp_path, monkeypatch):
    """Fails if it begins late, ends early, or is left open when training ends within it."""
    called = []
    monkeypatch.setattr("jax.profiler.start_trace", called.append)
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: called.append("stop"))
    for end in (3, 9):
        called.clear()
        watch, at = Watch(tmp_path, window(f"1:{end}")), {}
        for step in range(5):
            watch.before(step, jnp.zeros(()))
            at[step] = list(called)
        watch.close(jnp.zeros(()))
        folder = str(tmp_path / "profile")
        assert (at[0], at[1], at[2]) == ([], [folder], [folder])
        assert at[3] == ([folder, "stop"] if end == 3 else [folder])
        assert called == [folder, "stop"]


@pytest.mark.parametrize("text", ["100", "5:5", "7:3", "a:b", "1:"])
def test_a_window_is_two_rising_steps(text):
    assert not window("")
    with pytest.raises(ValueError, match="write the first step and the one after the last"):
        window(text)
