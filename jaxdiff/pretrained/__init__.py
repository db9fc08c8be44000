"""Key maps between our parameter trees and public checkpoints in safetensors files."""

from jaxdiff.pretrained.convert import to_ours, to_theirs
from jaxdiff.pretrained.files import find_weights, fingerprint, load, open_tensors, resolve, save

__all__ = [
    "find_weights",
    "fingerprint",
    "load",
    "open_tensors",
    "resolve",
    "save",
    "to_ours",
    "to_theirs",
]
