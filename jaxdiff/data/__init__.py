"""Data: sources, transforms, and batches that depend on nothing but the seed."""
