"""What all blocks of a network are told: the time and the conditions, by the network's options."""

from typing import Any

from jaxtyping import Array, Bool, Float

from jaxdiff.networks import conditioning
from jaxdiff.networks.layers import TimeEmbedding
from jaxdiff.typing import Cond


def embed(
    network: Any, time: Float[Array, " b"], cond: Cond, features: int, wave_features: int
) -> Float[Array, "b features"]:
    """Returns one vector per example, for use inside of the network's compact method.

    Of `network` it reads `waves`, `num_classes`, `vectors`, `times`, `joint_vectors`,
    `joint_numbers`, `number_features`, `learned_null` and `dtype`.

    Raises:
        ValueError: a condition has another shape than it should, or is missing.
    """
    total = TimeEmbedding(features, wave_features, network.waves, network.dtype, name="time")(time)
    fields = conditioning.fields(network.num_classes, network.vectors, tuple(network.times))
    joint = conditioning.joint_fields(
        network.joint_vectors, network.joint_numbers, network.number_features
    )
    options = features, network.dtype, network.learned_null
    if fields:
        part = conditioning.ConditionEmbedding(fields, *options, name="cond")
        total += part(cond, time.shape[0])
    if joint:
        part = conditioning.JointEmbedding(joint, *options, name="joint")
        total += part(cond, time.shape[0])
    return total


def read_text(
    network: Any, cond: Cond, batch: int
) -> tuple[Float[Array, "b n d"] | None, Bool[Array, "b n"] | None]:
    """Returns the tokens of cond["text"] and which of them count, None where all do.

    Of `network` it reads `text_features`, without which there is no text, `learned_null` and
    `dtype`.

    Raises:
        ValueError: the text has another shape than it should, or is missing.
    """
    if network.text_features is None:
        return None, None
    read = conditioning.TokenCondition(
        "text", network.text_features, network.dtype, network.learned_null, name="text"
    )
    return read(cond, batch)
