"""A generative adversarial network on points in the plane: `configs/toy_gan.py:eight_gaussians`.

One evaluation a sample, two players: a generator and a critic, each with its own optimizer. Held
beside `configs/toy_2d.py` it shows the two families that a course compares: loss curves that
balance instead of falling, and modes that may be lost.

    python experiments/train.py    --config=configs/toy_gan.py --workdir=runs/toy_gan
    python experiments/evaluate.py --workdir=runs/toy_gan

Variants: the densities of `jaxdiff.data.toy`; and `collapse`, without the critic's gradient
penalty and with a faster generator.
"""

from jaxdiff import config as defaults

CLASSES = {"eight_gaussians": 8, "rings": 2, "two_moons": 2, "swiss_roll": 0, "checkerboard": 8}
VARIANTS = {
    **{name: {"data.name": name, "data.num_classes": n} for name, n in CLASSES.items()},
    "collapse": {"task.penalty": 0.0, "optimizer.learning_rate": 2e-3},
}


def get_config(variant: str = "eight_gaussians"):
    config = defaults.default()
    config.data = {"name": "eight_gaussians", "shape": (2,), "num_classes": 8}
    config.task = {
        "name": "GAN",
        "discriminator": {"name": "MLP", "features": 64, "num_blocks": 2},
        "latent_size": 4,
        "penalty": 0.1,
    }
    config.network = {"name": "MLP", "features": 64, "num_blocks": 2}
    config.batch_size = 256
    config.optimizer = {
        "name": "adam",
        "learning_rate": 5e-4,
        "b1": 0.5,
        "schedule": "constant",
        "clip_norm": 0.0,
    }
    # Two time scales (Heusel et al. 2017).
    config.optimizers = {"discriminator": {"learning_rate": 1e-3}}
    config.ema = "Warmup(decay=0.999)"
    config.train.steps = 6000
    config.train.log_every = 100
    config.train.checkpoint_every = 2000
    config.train.evaluate_every = 2000
    config.sampling.batch_size = 1000
    config.evaluation.evaluators = ("SampleGrid", "ModeCoverage")
    return defaults.variant(config, VARIANTS, variant)
