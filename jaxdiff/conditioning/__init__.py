"""The conditions of a model: which batch fields, how encoded, how dropped."""
