"""A contrastive encoder of handwritten digits, trained without labels, in a minute.

python experiments/train.py --config=configs/digits_contrastive.py --workdir=runs/contrastive
"""

from jaxdiff import config as defaults


def get_config():
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.task = {"name": "Contrastive", "embedding": 32, "shift": 1, "noise": 0.3}
    config.batch_size = 256
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine(warmup_steps=50)"
    config.ema = "Warmup(decay=0.99)"
    config.train.steps = 600
    config.train.log_every = 50
    config.train.checkpoint_every = 300
    config.train.evaluate_every = 300
    config.evaluation.evaluators = ("NearestNeighbours",)
    return config
