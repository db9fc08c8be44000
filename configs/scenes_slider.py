"""A slider of colour on a model of scenes: an adapter whose strength makes things more or less red.

    python -m jaxdiff train --config=scenes_slider --workdir=runs/redder
    python -m jaxdiff sample --workdir=pretrained/scenes_text --adapter=runs/redder:1.5 \\
        --text="a green cat, on a white ground"       # or -1

The concept is the difference of two prompts (`objectives.sliders`); --config.objective.positive and
--config.objective.negative name another one. The model before tuning is the teacher.
"""

from jaxdiff.config.recipes import load_recipe

BASE = "pretrained/scenes_text"


def get_config():
    config = load_recipe("scenes_text:few")
    config.weights.network = config.weights.teacher = BASE
    config.weights.codec = "pretrained/scenes_autoencoder"
    with config.unlocked():
        config.adapters = {"slider": "LoRA(rank=4)"}
    config.objective = "Slider(positive='a red cat', negative='a blue cat')"
    config.condition_dropout = 0.0
    config.batch_size = 16
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant(warmup_steps=20)"
    config.ema = "Warmup(decay=0.98)"
    config.train.steps = 300
    config.train.log_every = 20
    config.train.checkpoint_every = 100
    config.train.evaluate_every = 100
    # With a ground, as all captions have one: without, the base draws no shapes.
    prompts = ["a green cat, on a white ground", "a purple heart, on a yellow ground"]
    config.evaluation.evaluators = ({"name": "SampleGrid", "cond": {"text": prompts}},)
    return config
