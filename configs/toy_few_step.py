"""Few-step models of points: `configs/toy_few_step.py:mean_flow`.

A variant is a method. "denoising" is the teacher of those that need one:

    python experiments/train.py --config=configs/toy_few_step.py:denoising --workdir=runs/teacher
    python experiments/train.py --config=configs/toy_few_step.py:tcd --workdir=runs/tcd \\
        --config.weights.teacher=runs/teacher

`experiments/few_step_oracles.py` trains them all, and compares them with the exact flow map.

The embeddings of both times turn slowly (a factor of 30), since tangents by `jax.jvp` grow with it.
Errors of a consistency function weigh as those of the velocity do: with equal weight in x0, the
times near 1, to which nothing but their neighbours leads, learn too little. `mean_flow` has the
squared error; `mean_flow_adaptive` the paper's, which finds another mean. The teacher of
`truncated_consistency` is a consistency model, a run of `easy_consistency`.
"""

from jaxdiff import config as defaults

STEPS = 2000
EVEN = "grid=EvenGrid()"
DOUBLING = f"spans=Intervals(count=Doubling(first=4, last=64, every=300), {EVEN})"
PAIRS = "spans=Pairs(apart=0.5)"
CONSISTENCY = {"sampling.solver": "Consistency", "weighting": "Flow"}
FLOW_MAP = {"sampling.solver": "FlowMap", "network.inputs": {"scalars": {"until": 30.0}}}
DENOISER = {"sampling.solver": "DDIM"}

SCRATCH = {
    "consistency_training": CONSISTENCY
    | {
        "objective": f"ConsistencyTraining(per_gap=True, {DOUBLING})",
        "ema": "Warmup(decay=0.95)",
    },
    "improved_consistency": CONSISTENCY
    | {"objective": f"ImprovedConsistency(scale=0.3, {DOUBLING})"},
    "sct": CONSISTENCY
    | {"objective": "ContinuousConsistency(data_std=1.4, warmup=500, normalize=False)"},
    "mean_flow": FLOW_MAP | {"objective": f"MeanFlow({PAIRS}, distance=Squared())"},
    "mean_flow_adaptive": FLOW_MAP | {"objective": f"MeanFlow({PAIRS})"},
    "improved_mean_flow": FLOW_MAP
    | {"objective": f"ImprovedMeanFlow({PAIRS}, distance=Squared())"},
    "alpha_flow": FLOW_MAP
    | {"objective": f"AlphaFlow(begins=400, ends=1600, {PAIRS}, distance=Squared())"},
    "shortcut": FLOW_MAP | {"objective": "Shortcut(steps=32, bootstrap=0.5)"},
    "lagrangian": FLOW_MAP | {"objective": "LagrangianMap"},
    "eulerian": FLOW_MAP | {"objective": "EulerianMap"},
    "semigroup": FLOW_MAP | {"objective": "SemigroupMap"},
    "moment_matching": FLOW_MAP | {"objective": "MomentMatching(group=16, decrement=0.1)"},
    "drifting": CONSISTENCY
    | {
        "objective": "Drifting(labels=4, generated=64, positives=64, negatives=0, bank=1024)",
        "sampling.steps": 1,
    },
}
TAUGHT = {
    "easy_consistency": CONSISTENCY
    | {"objective": "EasyConsistency(every=250, stages=6, scale=0.3)"},
    "consistency_distillation": CONSISTENCY
    | {
        "objective": f"ConsistencyDistillation(per_gap=True, spans=Intervals(count=32, {EVEN}))",
        "ema": "Warmup(decay=0.95)",
    },
    "scd": CONSISTENCY | {"objective": "ContinuousConsistency(data_std=1.4, warmup=500)"},
    "tcd": FLOW_MAP
    | {
        "objective": "TrajectoryConsistency(spans=Gap(size=0.03125), solver=Heun())",
        "ema": "Warmup(decay=0.95)",
    },
    "multistep": FLOW_MAP
    | {
        "objective": "TrajectoryConsistency(segments=2, spans=Gap(size=0.03125), solver=Heun())",
        "ema": "Warmup(decay=0.95)",
    },
    "mean_flow_distilled": FLOW_MAP | {"objective": f"MeanFlow({PAIRS}, distance=Squared())"},
    "lagrangian_distilled": FLOW_MAP | {"objective": "LagrangianMap"},
    "eulerian_distilled": FLOW_MAP | {"objective": "EulerianMap"},
    "truncated_consistency": CONSISTENCY
    | {
        "objective": "TruncatedConsistency(spans=Ratio(every=250, stages=6), boundary=1.0, "
        "distance=PseudoHuber(scale=0.3))"
    },
    "distribution_matching": CONSISTENCY
    | {
        "objective": "DistributionMatching(floor=0.5)",
        # Faster, the generator leaves the fake score behind, and the data.
        "optimizers": {"network": {"learning_rate": 3e-4, "every": 2}},
        "evaluation.evaluators": ("SampleGrid",),
    },
    "distribution_matching_gan": CONSISTENCY
    | {
        "objective": "DistributionMatching(floor=0.5, adversarial=0.03, critic_weight=0.1)",
        "optimizers": {"network": {"learning_rate": 3e-4, "every": 2}},
        "evaluation.evaluators": ("SampleGrid",),
    },
    "adversarial_distillation": CONSISTENCY
    | {
        "objective": "AdversarialDistillation(steps=2, distillation=0.02, penalty=0.001)",
        "optimizers": {
            "network": {"learning_rate": 1e-3, "b1": 0.5},
            "discriminator": {"b1": 0.5},
        },
        "evaluation.evaluators": ("SampleGrid",),
    },
    "progressive": DENOISER | {"objective": "ProgressiveDistillation(steps=4)"},
    "reflow": DENOISER | {"objective": "Reflow(steps=8)"},
}
VARIANTS = {"denoising": {"sampling.solver": "Heun"}, **SCRATCH, **TAUGHT}


def get_config(variant: str = "mean_flow"):
    config = defaults.default()
    config.data = {"name": "eight_gaussians", "shape": (2,), "num_classes": 8}
    config.network = {"name": "MLP", "features": 64, "num_blocks": 3}
    config.process = "RectifiedFlow"
    config.parameterization = "velocity"
    config.time_input = "ScaledTime(scale=30.0)"
    config.batch_size = 256
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = f"cosine(steps={STEPS}, warmup_steps=100)"
    config.ema = "Warmup(decay=0.99)"
    config.train.steps = STEPS
    config.train.log_every = 200
    config.train.checkpoint_every = STEPS
    config.sampling.steps = 2
    config.sampling.batch_size = 1000
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
