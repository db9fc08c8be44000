"""Score-based models as stochastic differential equations (Song, Y. et al. 2021), on digits.

Variants: "vp" and "subvp" (sampled by Euler and Maruyama's method), "ve" (by predictor and
corrector). The noise is predicted, which is the score times -sigma, at unit weight. Differences
from the paper: a U-Net of a sixth of a million parameters, its input scaled to unit variance
where the process explodes it; `--config.weighting=ELBO` is the likelihood weighting.
"""

from jaxdiff import config as defaults

VARIANTS = {
    "vp": {
        "process": "LinearBeta(beta_min=0.1, beta_max=20.0)",
        "sampling.solver": "EulerMaruyama",
    },
    "subvp": {
        "process": "SubVP(beta_min=0.1, beta_max=20.0)",
        "sampling.solver": "EulerMaruyama",
    },
    "ve": {
        # The largest distance between two digits is about 17.
        "process": "VarianceExploding(sigma_min=0.01, sigma_max=17.0)",
        "input_scaling": "UnitVariance(data_std=0.6)",
        "time_input": "LogNoise(scale=250.0)",
        "sampling.solver": "PredictorCorrector(snr=0.16)",
    },
}


def get_config(variant: str = "vp"):
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.parameterization = "noise"
    config.time_sampling = "Uniform(minimum=1e-5)"
    config.network = {
        "name": "UNet",
        "channels": (24, 48),
        "layers_per_block": 1,
        "attention_at": (4,),
        "head_channels": 24,
        "skip_scale": 0.5**0.5,
    }
    config.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine(warmup_steps=100)"
    config.ema = "Warmup(decay=0.995)"
    config.train.steps = 1500
    config.train.evaluate_every = 1500
    config.sampling.steps = 500
    config.sampling.batch_size = 100
    return defaults.variant(config, VARIANTS, variant)
