"""Evaluation: distances between sets of samples, classifiers, pictures, reports."""
