"""Pixel MeanFlow on ImageNet at 256×256, pMF (Lu et al. 2026): needs accelerators.

Improved MeanFlow of pixels in patches of 16: the network predicts the data, the loss compares
velocities. Batches of 1024 for 320 epochs, Muon at 1e-3; guidance is an input, from 1 to 8, as is
its interval; one evaluation a sample. Published FID-50k: 3.12 of B/16 (the authors' code 3.11),
2.52 of "large" (2.50), and 2.22 of H/16 (2.11).

The perceptual loss is LPIPS with the factor 0.4, below t = 0.8, of a file that you give:
--config.weights.perceptual=vgg.safetensors.

Differences: the authors add features of ConvNeXt with the factor 0.1, so the published figures may
be out of reach of this recipe; else those of `imagenet256_imf.py`, and the positions of the patches
are rotations alone.
"""

from jaxdiff import config as defaults

PAIRS = "Pairs(second=LogitNormal(mean=0.8, std=0.8), apart=0.5)"
OBJECTIVE = (
    "ImprovedMeanFlow(spans={}, distance=Adaptive(power=1.0, eps=0.01), guidance_high=8.0,"
    " guidance_power={}, guidance_intervals=True, perceptual_weight=0.4)"
)
VARIANTS = {
    "base": {},
    "large": {
        "network.depth": 32,
        "network.features": 1024,
        "network.num_heads": 16,
        "objective": OBJECTIVE.format(PAIRS, 2.0),
        "ema": "HalfLife(images=1_000_000.0, rampup=0.05)",
        "sampling.guidance_scale": 7.0,
        "sampling.guidance": "Interval(low=0.2, high=0.7)",
    },
}


def get_config(variant: str = "base"):
    config = defaults.default()
    config.data = {"name": "imagenet2012", "shape": (256, 256, 3), "num_classes": 1000}
    config.transforms = ("Resize(size=256)", "CenterCrop(size=256)")
    config.conditions = ("label",)
    config.condition_dropout = 0.1
    scalars = ("until", "guidance_scale", "guidance_from", "guidance_to")
    config.network = {
        "name": "InContextDiT",
        "features": 768,
        "depth": 16,
        "num_heads": 12,
        "patch": (1, 16, 16),
        "bottleneck": 128,
        "inputs": {"scalars": dict.fromkeys(scalars, 1.0)},
    }
    config.process = "RectifiedFlow"
    config.parameterization = "flow_x0(floor=0.05)"
    config.time_input = "ScaledTime(scale=1.0)"
    config.objective = OBJECTIVE.format(PAIRS, 1.0)
    config.time_sampling = "LogitNormal(mean=0.8, std=0.8)"
    config.weights.perceptual = "lpips_vgg.safetensors"
    config.batch_size = 1024
    config.optimizer = {
        "name": "jaxdiff.training.muon:muon",
        "learning_rate": 1e-3,
        "b2": 0.95,
        "schedule": "constant",
        "clip_norm": 0.0,
    }
    config.ema = "HalfLife(images=2_000_000.0, rampup=0.05)"
    config.parallel = "fsdp"
    config.train.steps = 400_365
    config.train.checkpoint_every = 10_000
    config.train.evaluate_every = 25_000
    config.train.workers = 8
    config.sampling.solver = "FlowMap"
    config.sampling.steps = 1
    config.sampling.guidance_scale = 8.5
    config.sampling.guidance = "Interval(low=0.1, high=0.7)"
    config.evaluation.split = "validation"
    config.evaluation.num = 50_000
    return defaults.variant(config, VARIANTS, variant)
