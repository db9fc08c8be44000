"""Says how often a classifier sees the kind of emoji that a model of words was asked for.

python experiments/scene_kinds.py --model=pretrained/scenes_text --num=240

Scenes have one emoji, of the kinds that the model was trained with; the prompts are captions of
held-out ones. The classifier is trained on real scenes; what it sees in held-out ones is the most
that can be seen.
"""

import cli
import numpy as np
from absl import flags

import jaxdiff
from jaxdiff.data.sources import open_source
from jaxdiff.evaluation import pictures
from jaxdiff.evaluation.attributes import share
from jaxdiff.evaluation.features import Training, train_classifier
from jaxdiff.networks.classifier import ConvClassifier

flags.DEFINE_string("model", None, "Folder of a run of configs/scenes_text.py.", required=True)
cli.flag("num", cli.Size, 240, "Samples.")
cli.flag("scenes", cli.Size, 4000, "Real scenes that the classifier learns from.")
cli.flag("guidance_scale", cli.Number, None, "The model's own by default.")
cli.flag("steps", cli.Steps, None, "Solver steps; the model's own by default.")
flags.DEFINE_string("out", "", "A .png file for the first samples.")
TRAINING = Training(steps=800, batch_size=64, shift=4)


def main() -> None:
    """Trains the classifier, draws, and prints the shares."""
    run = jaxdiff.load(flags.FLAGS.model)
    kinds = tuple(run.config.data.get("kinds", ()))
    real = images_of(kinds, "train", flags.FLAGS.scenes, run.shape)
    held_out = images_of(kinds, "test", max(flags.FLAGS.num, 500), run.shape)
    network = ConvClassifier(int(real[1].max()) + 1, channels=(32, 64, 64), features=128)
    classifier = train_classifier(network, *real[:2], held_out[:2], TRAINING)

    num, options = flags.FLAGS.num, ("guidance_scale", "steps")
    texts, labels = held_out[2][:num], held_out[1][:num]
    given = {name: flags.FLAGS[name].value for name in options}
    samples = np.clip(run.sample(num, {"text": texts}, **given), -1, 1)
    right = classifier.logits(samples).argmax(axis=1) == labels
    print(f"real scenes: {classifier.accuracy:.2f}; by chance {1 / network.classes:.2f}")
    found = share(right)
    print(f"{num} samples: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")
    if flags.FLAGS.out:
        pictures.save_grid(flags.FLAGS.out, samples[:64], 8)


def images_of(
    kinds: tuple[str, ...], split: str, num: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns scenes of one emoji in [-1, 1], the numbers of their kinds, and their captions."""
    scenes = open_source(
        "emoji_scenes", split, size=shape[0], kinds=kinds, most=1, fields=("text", "kinds")
    )
    found = [scenes[i] for i in range(num)]
    numbers = np.array([each["kinds"][0] for each in found])
    present = np.unique(numbers)
    images = np.stack([each["x"] for each in found]).astype(np.float32) / 127.5 - 1
    return images, np.searchsorted(present, numbers), [each["text"] for each in found]


if __name__ == "__main__":
    cli.run(main)
