"""Whose weights, where they come from, and where they lie on the devices."""
