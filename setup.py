"""Installs `experiments/` and `configs/` inside the package; everything else is in setup.cfg."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["jaxdiff", "jaxdiff.*"]),
        "jaxdiff.commands",
        "jaxdiff.recipes",
    ],
    package_dir={"jaxdiff.commands": "experiments", "jaxdiff.recipes": "configs"},
)
