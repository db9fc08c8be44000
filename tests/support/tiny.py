"""The recipes that tests train."""

from jaxdiff import config as defaults


def tiny_config():
    """The digits recipe with a network that compiles in seconds and Adam without its noise.

    The loss has learned parameters of its own, and the times follow the losses that were seen:
    what is said of a run here holds for those as well.

    With Adam's usual eps a gradient that is zero but for rounding moves a parameter by a whole
    learning rate; 1e-3 keeps runs that differ in rounding only comparable.
    """
    config = defaults.default()
    config.conditions = ("label",)
    config.network = {
        "name": "UNet",
        "channels": (8,),
        "layers_per_block": 1,
        "dropout": 0.1,
    }
    config.objective = "LearnedUncertainty(of=Denoising(), features=4)"
    config.time_sampling = "LossAware(bins=4)"
    config.batch_size = 16
    config.optimizer.eps = 1e-3
    config.train.steps = 20
    config.train.log_every = 4
    config.train.checkpoint_every = 10
    config.sampling.steps = 4
    config.sampling.guidance_scale = 2.0
    config.evaluation.evaluators = ()
    return config


def points_config():
    """The same on points, where the compiled step is a tenth as large."""
    config = tiny_config()
    config.data = {"name": "two_moons", "shape": (2,), "num_classes": 2}
    config.network = {"name": "MLP", "features": 16, "num_blocks": 1, "dropout": 0.1}
    return config
