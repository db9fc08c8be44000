"""Adapters in files: LoRA and its relatives, as functions of trees of weights."""

from jaxdiff.pretrained.lora.changes import Change
from jaxdiff.pretrained.lora.files import Module, modules_of
from jaxdiff.pretrained.lora.places import adapted, changes_of

__all__ = ["Change", "Module", "adapted", "changes_of", "modules_of"]
