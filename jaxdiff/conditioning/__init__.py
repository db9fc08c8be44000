"""Conditions of a model: batch fields, their encoders, and dropout."""
