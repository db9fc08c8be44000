"""Eight devices for every test, quick compilation, and caches away from the user's."""

import contextlib
import os
from importlib import metadata

os.environ["JAX_NUM_CPU_DEVICES"] = "8"
# Compiling is nearly all that the suite does, of programs that run once: code is emitted in the
# cheapest way. QUICK_COMPILATION=0 compiles as users do.
if os.environ.setdefault("QUICK_COMPILATION", "1") != "0":
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    flags = ["--xla_cpu_parallel_codegen_split_count=1", os.environ.get("XLA_FLAGS", "")]
    if metadata.version("jaxlib").startswith("0.10."):  # later ones end the process at its name
        flags.insert(0, "--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join(flags)

import jax
import pytest

from tests.support.forked import Scripts


def pytest_collection_modifyitems(items):
    """Begins with the longest file, or a worker would be at it when the others are done."""
    items.sort(key=lambda item: "test_devices" not in item.nodeid)


@pytest.fixture(scope="session")
def optimized():
    """A context that compiles with all passes, for what computes longer than it compiles."""

    @contextlib.contextmanager
    def context():
        before = jax.config.values["jax_disable_most_optimizations"]
        jax.config.update("jax_disable_most_optimizations", False)
        yield
        jax.config.update("jax_disable_most_optimizations", before)

    return context


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory):
    """Keeps the suite out of the user's caches; its workers share one."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    os.environ["TFDS_DATA_DIR"] = str(folder / "tfds")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # one that outlives the suite
        jax.config.update("jax_compilation_cache_dir", str(folder / "cache" / "jaxdiff" / "xla"))


@pytest.fixture(scope="session")
def scripts(caches):
    """Runs scripts as `forked.Scripts` does."""
    running = Scripts()
    yield running
    running.close()
