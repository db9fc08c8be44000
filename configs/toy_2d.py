"""Points in the plane: `configs/toy_2d.py:two_moons`.

Variants: the densities of `jaxdiff.data.toy`.
"""

from jaxdiff import config as defaults
from jaxdiff.runs import sweeps

CLASSES = {"eight_gaussians": 8, "rings": 2, "two_moons": 2, "swiss_roll": 0, "checkerboard": 8}


def get_config(variant: str = "eight_gaussians"):
    config = defaults.default()
    config = defaults.variant(config, {name: {"data.name": name} for name in CLASSES}, variant)
    config.data.shape = (2,)
    config.data.num_classes = CLASSES[variant]
    config.network = {"name": "MLP", "features": 128, "num_blocks": 3}
    config.process = "RectifiedFlow"
    config.parameterization = "velocity"
    config.batch_size = 512
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine(warmup_steps=100)"
    config.ema = "Warmup(decay=0.995)"
    config.train.steps = 4000
    config.train.evaluate_every = 2000
    config.sampling.solver = "Heun"
    config.sampling.steps = 30
    config.sampling.batch_size = 1000
    return config


def sweep_parts():
    """Processes, each with two parameterizations."""
    processes = [{"process": name} for name in ("RectifiedFlow", "Cosine", "EDM")]
    predicted = [{"parameterization": name} for name in ("velocity", "x0")]
    yield from sweeps.product(processes, predicted)
