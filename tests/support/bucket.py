"""A bucket of Google Cloud Storage that is a folder: no network, no account."""

import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from etils.epath import gpath
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from orbax.checkpoint._src.path import gcs_utils


def bucket_in(folder: Path, monkeypatch) -> str:
    """Makes paths in a bucket those in a folder, for epath and for Orbax; returns the bucket.

    What is written goes through fsspec, as with the real one, except for arrays: TensorStore has a
    client of its own, which writes into the folder directly.
    """

    class Bucket(DirFileSystem):
        protocol = ("gs", "gcs")
        cachable = False

        def __init__(self, **options):
            super().__init__(path=str(folder), fs=LocalFileSystem(auto_mkdir=True))

        @classmethod
        def _strip_protocol(cls, path):
            return os.fspath(path).removeprefix("gs://").rstrip("/")

        def _join(self, path):
            return super()._join(self._strip_protocol(path) if isinstance(path, str) else path)

        def open(self, path, mode="rb", **options):
            if "a" in mode or "+" in mode:
                raise NotImplementedError(f"{path}: an object in a bucket cannot grow")
            return super().open(path, mode, **options)

    for protocol in Bucket.protocol:
        registered = importlib.import_module("fsspec.registry")._registry
        monkeypatch.setitem(registered, protocol, Bucket)
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    gpath.backend_lib.fsspec_backend._get_filesystem.cache_clear()
    if not hasattr(gcs_utils, "get_kvstore_for_gcs"):
        pytest.skip("this version of Orbax names its store in another place")
    spec = gcs_utils.get_kvstore_for_gcs

    def in_folder(path):
        found = spec(path)
        return {"driver": "file", "path": f"{folder}/{found['bucket']}/{found['path']}"}

    monkeypatch.setattr(gcs_utils, "get_kvstore_for_gcs", in_folder)
    plain = SimpleNamespace(hierarchical_namespace_enabled=False)
    monkeypatch.setattr(gcs_utils, "get_bucket", lambda name: plain)
    (folder / "bucket").mkdir()
    return "gs://bucket"
