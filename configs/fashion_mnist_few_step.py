"""Few-step models of Fashion-MNIST, 28×28 and grey, by class; hours on two cores.

A variant is a method, as in `digits_few_step.py`. "denoising" is the teacher, the U-Net of
`fashion_mnist.py:small`, 1.5 M parameters. Every student begins from the teacher's weights and
takes a quarter of its steps, also those that learn from the data alone:

    python -m jaxdiff train --config=fashion_mnist_few_step:denoising --workdir=runs/teacher
    python -m jaxdiff train --config=fashion_mnist_few_step:tcd --workdir=runs/few_step/tcd \\
        --config.weights.teacher=runs/teacher
    python -m jaxdiff train --config=fashion_mnist_few_step:mean_flow \\
        --workdir=runs/few_step/mean_flow --config.weights.network=runs/teacher

`experiments/few_step_images.py` compares them. The data are read as in `fashion_mnist.py`.
"""

from jaxdiff import config as defaults

UNTIL, SCALE = {"until": 100.0}, {"guidance_scale": 100.0}
EVEN = "grid=EvenGrid()"
DOUBLING = f"spans=Intervals(count=Doubling(first=10, last=80, every=125), {EVEN})"
PAIRS = "spans=Pairs(apart=0.5)"
CONSISTENCY = {"sampling.solver": "Consistency", "weighting": "Flow"}
# Gaps that close with the noise level, in whose weight 1/gap the level is counted already.
RATIO = {"sampling.solver": "Consistency", "weighting": "Simple"}
# With 5e-4, and the whole tangent after 100 steps, both leave the data.
CONTINUOUS = CONSISTENCY | {
    "objective": "ContinuousConsistency(data_std=0.7, warmup=400)",
    "optimizer.learning_rate": 1e-4,
}
FLOW_MAP = {"sampling.solver": "FlowMap", "network.inputs": {"scalars": UNTIL}}
DENOISER = {"sampling.solver": "DDIM"}

SCRATCH = {
    "consistency_training": CONSISTENCY
    | {"objective": f"ConsistencyTraining(per_gap=True, {DOUBLING})"},
    "improved_consistency": CONSISTENCY | {"objective": f"ImprovedConsistency({DOUBLING})"},
    "sct": CONTINUOUS,
    "mean_flow": FLOW_MAP | {"objective": f"MeanFlow({PAIRS})"},
    "improved_mean_flow": FLOW_MAP | {"objective": f"ImprovedMeanFlow({PAIRS})"},
    "alpha_flow": FLOW_MAP | {"objective": f"AlphaFlow(begins=100, ends=400, {PAIRS})"},
    "shortcut": FLOW_MAP | {"objective": "Shortcut(steps=64)"},
    "lagrangian": FLOW_MAP | {"objective": "LagrangianMap"},
    "moment_matching": FLOW_MAP | {"objective": "MomentMatching(group=4, decrement=0.1)"},
}
TAUGHT = {
    "easy_consistency": RATIO | {"objective": "EasyConsistency(every=125, stages=4)"},
    "consistency_distillation": CONSISTENCY
    | {
        "objective": f"ConsistencyDistillation(per_gap=True, spans=Intervals(count=40, {EVEN}))",
        "ema": "Constant(decay=0.95)",
    },
    "scd": CONTINUOUS,
    "tcd": FLOW_MAP
    | {
        "objective": "TrajectoryConsistency(spans=Gap(size=0.025))",
        "sampling.solver": "TCD(gamma=0.3)",
        "ema": "Constant(decay=0.95)",
    },
    "latent_consistency": CONSISTENCY
    | {
        "objective": "LatentConsistency(low=1.0, high=3.0, spans=Gap(size=0.025))",
        "network.inputs": {"scalars": SCALE},
        "sampling.guidance_scale": 1.5,
        "ema": "Constant(decay=0.95)",
    },
    "mean_flow_distilled": FLOW_MAP | {"objective": f"MeanFlow({PAIRS})"},
    "lagrangian_distilled": FLOW_MAP | {"objective": "LagrangianMap"},
    "distribution_matching": CONSISTENCY
    | {
        "objective": "DistributionMatching",
        "optimizers": {"network": {"learning_rate": 1e-4, "every": 5}},
        "evaluation.evaluators": ("SampleGrid",),
    },
    "progressive": DENOISER | {"objective": "ProgressiveDistillation(steps=4)"},
    "reflow": DENOISER | {"objective": "Reflow(steps=8)"},
}
TEACHER = {
    "optimizer.learning_rate": 2e-3,
    "optimizer.schedule": "cosine(warmup_steps=100)",
    "ema": "Warmup(decay=0.999)",
    "sampling.solver": "DPMpp2M",
    "sampling.steps": 50,
    "train.steps": 2000,
    "train.evaluate_every": 500,
}
VARIANTS = {"denoising": TEACHER, **SCRATCH, **TAUGHT}


def get_config(variant: str = "mean_flow"):
    config = defaults.default()
    config.data = {
        "name": "fashion_mnist_idx",
        "folder": "/usr/share/datasets/fashion-mnist",
        "shape": (28, 28, 1),
        "num_classes": 10,
    }
    config.conditions = ("label",)
    config.time_input = "ScaledTime(scale=100.0)"
    config.network = {
        "name": "UNet",
        "channels": (16, 48, 96),
        "layers_per_block": 1,
        "attention_at": (7,),
        "head_channels": 48,
        "scale_shift": True,
    }
    config.batch_size = 64
    config.optimizer.learning_rate = 5e-4
    config.optimizer.schedule = "cosine(warmup_steps=25)"
    config.ema = "Warmup(decay=0.995)"
    config.train.steps = 500
    config.train.log_every = 25
    config.train.checkpoint_every = 125
    config.train.evaluate_every = 250
    config.sampling.steps = 2
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
