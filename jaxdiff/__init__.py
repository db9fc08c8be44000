"""jaxdiff: diffusion models in JAX."""
