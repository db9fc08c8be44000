"""Measures of solvers and grids: orders of convergence, local errors."""
