"""Drifting on latents of ImageNet at 256×256 (Deng et al. 2026): needs accelerators.

A one-step generator, in features of a masked autoencoder, a run of the variant "encoder":

    train.py --config=configs/imagenet256_drifting.py:encoder --workdir=runs/encoder
    train.py --config=configs/imagenet256_drifting.py --config.weights.teacher=runs/encoder \\
        --config.weights.network='Random()' --workdir=runs/drifting

200,000 steps: each puts 2048 latents into the memory bank, 128 of a class, and draws 64 samples of
128 labels. Published FID-50k of one step, without guidance: 1.54 ("large"; the authors' code 1.53)
and 1.75 ("base", with a scale of 1.1; 1.74). "ablation" is the cheapest check, 30,000 steps with
the encoder of "encoder_ablation", 256 wide: 8.46 with a scale of 2, and 35.2, 13.3, 10.7, 9.5 and
8.8 after 5,000, 10,000, ... 25,000 steps.

Differences: the bank is one for all devices, where the authors' 32 hosts have one each; negatives
come from the banks of all classes; the encoder is a U-Net, whose way down is read after every
second block, without the fine-tuning as a classifier of its last 3,000 steps; the generator has
noise alone as its input, not 32 random embeddings besides, and its positions are rotations.
"""

from jaxdiff import config as defaults

DRIFTING = (
    "Drifting(labels={labels}, generated=64, positives=64, negatives={negatives}, bank=128,"
    " bank_dtype='bfloat16', temperatures=(0.2, 0.05, 0.02), guidance_high=4.0,"
    " guidance_power={power}, unguided={unguided}, layers={layers})"
)
LAYERS = tuple(f"down_{level}_{block}_residual" for level in range(4) for block in (1, 3))


def drifting(labels=128, negatives=32, power=3.0, unguided=0.0):
    options = {"labels": labels, "negatives": negatives, "power": power, "unguided": unguided}
    return DRIFTING.format(**options, layers=LAYERS)


def encoder(width):
    return {
        "objective": "MaskedAutoencoding(share=0.5, patch=2)",
        "parameterization": "x0",
        "conditions": (),
        "network": {
            "name": "UNet",
            "channels": (width, 2 * width, 4 * width, 8 * width),
            "layers_per_block": 4,
            "middle_attention": False,
        },
        "batch_size": 8192,
        "optimizer.learning_rate": 4e-3,
        "optimizer.schedule": "constant(warmup_steps=4000)",
        "optimizer.clip_norm": 0.0,
        "ema": "Constant(decay=0.9995)",
        "sampling.solver": "DDIM",
        "sampling.guidance_scale": 1.0,
        "evaluation.evaluators": ("HeldOutLoss",),
    }


BASE = {
    "network.features": 768,
    "network.depth": 12,
    "network.num_heads": 12,
    "network.mlp_features": 2048,
}
VARIANTS = {
    "large": {},
    "base": {
        **BASE,
        "objective": drifting(power=5.0),
        "optimizer.weight_decay": 0.0,
        "sampling.guidance_scale": 1.1,
    },
    "ablation": {
        **BASE,
        "objective": drifting(labels=64, negatives=16),
        "batch_size": 1024,
        "optimizer.learning_rate": 2e-4,
        "optimizer.schedule": "constant(warmup_steps=5000)",
        "train.steps": 30_000,
        "sampling.guidance_scale": 2.0,
    },
    "encoder": encoder(640),
    "encoder_ablation": {**encoder(256), "train.steps": 30_000},
}


def get_config(variant: str = "large"):
    config = defaults.default()
    config.data = {"name": "imagenet2012", "shape": (256, 256, 3), "num_classes": 1000}
    config.transforms = ("Resize(size=256)", "CenterCrop(size=256)", "RandomFlip")
    config.codec = {"name": "Latents", "autoencoder": "sd_vae"}
    config.conditions = ("label",)
    config.condition_dropout = 0.0
    config.weights.codec = "stabilityai/sd-vae-ft-mse"
    config.network = {
        "name": "DiT",
        "features": 1024,
        "depth": 24,
        "num_heads": 16,
        "mlp_features": 2752,
        "patch": (1, 2, 2),
        "positions": "Rotary",
        "qk_norm": "head",
        "gated": True,
        "rms_norm": True,
        "registers": 16,
        "register_vector": True,
        "inputs": {"scalars": {"guidance_scale": 1.0}},
    }
    config.compute_dtype = "bfloat16"
    config.process = "RectifiedFlow"
    config.parameterization = "velocity"
    config.objective = drifting(unguided=0.5)
    config.batch_size = 2048
    config.optimizer = {
        "name": "adamw",
        "learning_rate": 4e-4,
        "b1": 0.9,
        "b2": 0.95,
        "weight_decay": 0.01,
        "schedule": "constant(warmup_steps=10_000)",
        "clip_norm": 2.0,
    }
    config.ema = "Constant(decay=0.999)"
    config.parallel = "fsdp"
    config.train.steps = 200_000
    config.train.checkpoint_every = 2000
    config.train.evaluate_every = 5000
    config.train.workers = 8
    config.sampling.solver = "Consistency"
    config.sampling.steps = 1
    config.evaluation.split = "validation"
    config.evaluation.num = 50_000
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
