import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="session")
def digits(data_dir):
    from jaxdiff.data.sources import open_source  # the checks of shapes are not installed yet

    return {split: open_source("digits", split, data_dir=data_dir) for split in ("train", "test")}
