"""Says how often a classifier sees the kind, or the number, of emoji that a model was asked for.

python experiments/scene_kinds.py --model=pretrained/scenes_text --num=240
python experiments/scene_kinds.py --model=pretrained/scenes_text --of=count --save=runs/counts.npz

Scenes have one emoji, or for counts as many as the model was trained with; the prompts are captions
of held-out ones. The classifier is trained on real scenes; its share of held-out ones is the most
that samples can reach. Its file is for the reward `Agreement(file, field="count")`.
"""

import cli
import numpy as np
from absl import flags

import jaxdiff
from jaxdiff import Run
from jaxdiff.data.scenes.layout import MOST
from jaxdiff.data.sources import open_source
from jaxdiff.evaluation import pictures
from jaxdiff.evaluation.attributes import share
from jaxdiff.evaluation.features import Training, train_classifier
from jaxdiff.networks.classifier import ConvClassifier

flags.DEFINE_string("model", None, "Folder of a run of configs/scenes_text.py.", required=True)
OF = flags.DEFINE_enum("of", "kind", ["kind", "count"], "What the classifier tells apart.")
ADAPTER = flags.DEFINE_multi_string("adapter", [], "Adapters and their weights, folder:weight.")
SEED = cli.flag("seed", cli.Count, 0, "Of the classifier: another one judges what one has taught.")
SAVE = flags.DEFINE_string("save", "", "A .npz file for the classifier.")
cli.flag("num", cli.Count, 240, "Samples; with 0 the classifier is trained alone.")
cli.flag("scenes", cli.Size, 4000, "Real scenes that the classifier learns from.")
cli.flag("guidance_scale", cli.Number, None, "The model's own by default.")
cli.flag("steps", cli.Steps, None, "Solver steps; the model's own by default.")
flags.DEFINE_string("out", "", "A .png file for the first samples.")
TRAINING = Training(steps=800, batch_size=64, shift=4)


def main() -> None:
    """Trains the classifier, draws, and prints the shares."""
    run = jaxdiff.load(flags.FLAGS.model)
    real = examples_of(run, "train", flags.FLAGS.scenes)
    held_out = examples_of(run, "test", max(flags.FLAGS.num, 500))
    network = ConvClassifier(int(real[1].max()) + 1, channels=(32, 64, 64), features=128)
    classifier = train_classifier(network, *real[:2], held_out[:2], TRAINING, SEED.value)
    if SAVE.value:
        classifier.save(SAVE.value)
    print(f"real scenes: {classifier.accuracy:.2f}; by chance {1 / len(np.unique(real[1])):.2f}")
    if not flags.FLAGS.num:
        return

    num, options = flags.FLAGS.num, ("guidance_scale", "steps")
    texts, labels = held_out[2][:num], held_out[1][:num]
    given = {name: flags.FLAGS[name].value for name in options}
    strengths = dict(cli.weighted("adapter", each) for each in ADAPTER.value)
    run = run.adapted(strengths) if strengths else run
    samples = np.clip(run.sample(num, {"text": texts}, **given), -1, 1)
    right = classifier.logits(samples).argmax(axis=1) == labels
    found = share(right)
    print(f"{num} samples: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")
    if flags.FLAGS.out:
        pictures.save_grid(flags.FLAGS.out, samples[:64], 8)


def examples_of(run: Run, split: str, num: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns scenes in [-1, 1], their classes, and their captions.

    The class is the number of the kind among those of the data, or the number of emoji.
    """
    data, count = run.config.data, OF.value == "count"
    scenes = open_source(
        "emoji_scenes",
        split,
        size=run.shape[0],
        kinds=tuple(data.get("kinds", ())),
        most=data.get("most", MOST) if count else 1,
        fields=("text", "count" if count else "kinds"),
    )
    found = [scenes[i] for i in range(num)]
    images = np.stack([each["x"] for each in found]).astype(np.float32) / 127.5 - 1
    if count:
        classes = np.array([each["count"] for each in found])
    else:
        kinds = np.array([each["kinds"][0] for each in found])
        classes = np.searchsorted(np.unique(kinds), kinds)
    return images, classes, [each["text"] for each in found]


if __name__ == "__main__":
    cli.run(main)
