"""Few-step models of handwritten digits by class: `configs/digits_few_step.py:tcd`.

A variant is a method. "denoising" is the teacher of those that need one, and any run of the same
data, process, parameterization and time input can be:

    python experiments/train.py --config=configs/digits_few_step.py:denoising --workdir=runs/teacher
    python experiments/train.py --config=configs/digits_few_step.py:tcd --workdir=runs/tcd \\
        --config.weights.teacher=runs/teacher

From the data alone: the variants of SCRATCH. `latent_consistency` and `guidance` read the guidance
scale that samples ask for, as does `improved_mean_flow_guided`, with the times between which it
acts; `mean_flow_guided` has a scale of 2 in its weights.
"""

from jaxdiff import config as defaults

UNTIL, SCALE = {"until": 100.0}, {"guidance_scale": 100.0}
INTERVAL = {"guidance_from": 100.0, "guidance_to": 100.0}
EVEN = "grid=EvenGrid()"
DOUBLING = f"spans=Intervals(count=Doubling(first=4, last=32, every=100), {EVEN})"
PAIRS = "spans=Pairs(apart=0.5)"
CONSISTENCY = {"sampling.solver": "Consistency", "weighting": "Flow"}
# Gaps that close with the noise level, in whose weight 1/gap the level is counted already.
RATIO = {"sampling.solver": "Consistency", "weighting": "Simple"}
FLOW_MAP = {"sampling.solver": "FlowMap", "network.inputs": {"scalars": UNTIL}}
DENOISER = {"sampling.solver": "DDIM"}

SCRATCH = {
    "consistency_training": CONSISTENCY
    | {"objective": f"ConsistencyTraining(per_gap=True, {DOUBLING})", "ema": "Warmup(decay=0.95)"},
    "improved_consistency": CONSISTENCY | {"objective": f"ImprovedConsistency({DOUBLING})"},
    "sct": CONSISTENCY | {"objective": "ContinuousConsistency(data_std=0.6, warmup=150)"},
    "mean_flow": FLOW_MAP | {"objective": f"MeanFlow({PAIRS})"},
    "mean_flow_guided": FLOW_MAP
    | {"objective": f"MeanFlow({PAIRS}, guidance_scale=1.0, own_share=0.5)"},
    "improved_mean_flow": FLOW_MAP | {"objective": f"ImprovedMeanFlow({PAIRS})"},
    "improved_mean_flow_guided": {
        "sampling.solver": "FlowMap",
        "sampling.guidance_scale": 1.5,
        "network.inputs": {"scalars": {**UNTIL, **SCALE, **INTERVAL}},
        "objective": f"ImprovedMeanFlow({PAIRS}, guidance_high=4.0, guidance_intervals=True)",
    },
    "pixel_mean_flow": FLOW_MAP
    | {
        "objective": f"ImprovedMeanFlow({PAIRS})",
        "process": "RectifiedFlow",
        "parameterization": "flow_x0",
    },
    "alpha_flow": FLOW_MAP | {"objective": f"AlphaFlow(begins=100, ends=500, {PAIRS})"},
    "shortcut": FLOW_MAP | {"objective": "Shortcut(steps=32)"},
    "lagrangian": FLOW_MAP | {"objective": "LagrangianMap"},
    "eulerian": FLOW_MAP | {"objective": "EulerianMap"},
    "semigroup": FLOW_MAP | {"objective": "SemigroupMap"},
    "moment_matching": FLOW_MAP | {"objective": "MomentMatching(group=4, decrement=0.1)"},
}
TAUGHT = {
    "easy_consistency": RATIO | {"objective": "EasyConsistency(every=75, stages=6)"},
    "consistency_distillation": CONSISTENCY
    | {
        "objective": f"ConsistencyDistillation(per_gap=True, spans=Intervals(count=20, {EVEN}))",
        "ema": "Warmup(decay=0.95)",
    },
    "scd": CONSISTENCY | {"objective": "ContinuousConsistency(data_std=0.6, warmup=150)"},
    "tcd": FLOW_MAP
    | {
        "objective": "TrajectoryConsistency(spans=Gap(size=0.05))",
        "sampling.solver": "TCD(gamma=0.3)",
        "ema": "Warmup(decay=0.95)",
    },
    "multistep": FLOW_MAP
    | {
        "objective": "TrajectoryConsistency(segments=2, spans=Gap(size=0.05))",
        "ema": "Warmup(decay=0.95)",
    },
    "latent_consistency": CONSISTENCY
    | {
        "objective": "LatentConsistency(low=1.0, high=3.0, spans=Gap(size=0.05))",
        "network.inputs": {"scalars": SCALE},
        "sampling.guidance_scale": 1.5,
        "ema": "Warmup(decay=0.95)",
    },
    "guidance": DENOISER
    | {
        "objective": "GuidanceDistillation(low=1.0, high=3.0)",
        "network.inputs": {"scalars": SCALE},
        "sampling.guidance_scale": 1.5,
        "sampling.steps": 20,
    },
    "mean_flow_distilled": FLOW_MAP | {"objective": f"MeanFlow({PAIRS})"},
    "lagrangian_distilled": FLOW_MAP | {"objective": "LagrangianMap"},
    "truncated_consistency": RATIO
    | {"objective": "TruncatedConsistency(spans=Ratio(every=75, stages=6))"},
    "distribution_matching": CONSISTENCY
    | {
        "objective": "DistributionMatching",
        "optimizers": {"network": {"learning_rate": 3e-4, "every": 2}},
        "evaluation.evaluators": ("SampleGrid",),
    },
    "distribution_matching_gan": CONSISTENCY
    | {
        "objective": "DistributionMatching(adversarial=0.003)",
        "optimizers": {"network": {"learning_rate": 3e-4, "every": 2}},
        "evaluation.evaluators": ("SampleGrid",),
    },
    "adversarial_distillation": CONSISTENCY
    | {
        "objective": "AdversarialDistillation(steps=2)",
        "optimizers": {"network": {"learning_rate": 3e-4}},
        "evaluation.evaluators": ("SampleGrid",),
    },
    "progressive": DENOISER | {"objective": "ProgressiveDistillation(steps=4)"},
    "reflow": DENOISER | {"objective": "Reflow(steps=8)"},
}
TEACHER = {"sampling.solver": "DPMpp2M", "sampling.steps": 20}
VARIANTS = {"denoising": TEACHER, **SCRATCH, **TAUGHT}


def get_config(variant: str = "mean_flow"):
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.conditions = ("label",)
    # Slower embeddings of time than elsewhere: tangents by `jax.jvp` grow with them.
    config.time_input = "ScaledTime(scale=100.0)"
    config.network = {
        "name": "UNet",
        "channels": (24, 48),
        "layers_per_block": 1,
        "attention_at": (4,),
        "head_channels": 24,
        "scale_shift": True,
    }
    config.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine(warmup_steps=50)"
    config.ema = "Warmup(decay=0.99)"
    config.train.steps = 600
    config.train.log_every = 20
    config.train.checkpoint_every = 300
    config.train.evaluate_every = 300
    config.sampling.steps = 2
    config.sampling.batch_size = 80
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
