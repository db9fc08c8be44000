"""LPIPS against PyTorch's layers, as the package lpips calls them."""

import jax
import numpy as np
import pytest

from jaxdiff.networks import lpips
from jaxdiff.pretrained.files import write_tensors
from jaxdiff.pretrained.lpips import LPIPS, LPIPSFile

WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def drawn(network):
    """Arrays of the shapes of torchvision's networks, but a quarter as wide."""
    rng, found, last = np.random.default_rng(0), {}, 3
    for i, (each, width) in enumerate(zip(lpips.NETWORKS[network], WIDTHS[network], strict=True)):
        for conv in each.convs:
            size = {"slice1.0": 11, "slice2.3": 5}.get(conv.name, 3) if network == "alex" else 3
            shape = (width // 4, last, size, size)
            found[f"net.{conv.name}.weight"] = rng.normal(0, (last * size**2) ** -0.5, shape)
            found[f"net.{conv.name}.bias"] = rng.normal(0, 0.1, width // 4)
            last = width // 4
        found[f"lin{i}.model.1.weight"] = rng.uniform(0, 1, (1, width // 4, 1, 1))
    return {name: value.astype(np.float32) for name, value in found.items()}


def peer(network, params, x, y):
    """As `LPIPS.forward`, with the places of torchvision's layers."""
    import torch  # noqa: PLC0415
    from torch.nn import functional as F  # noqa: N812, PLC0415

    arrays = {name: torch.tensor(value) for name, value in params.items()}
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    alex = network == "alex"

    def maps(image):
        h = (torch.tensor(image).permute(0, 3, 1, 2) - shift) / scale
        found = []
        for i, names in enumerate(
            [["slice1.0"], ["slice2.3"], ["slice3.6"], ["slice4.8"], ["slice5.10"]]
            if alex
            else [
                ["slice1.0", "slice1.2"],
                ["slice2.5", "slice2.7"],
                ["slice3.10", "slice3.12", "slice3.14"],
                ["slice4.17", "slice4.19", "slice4.21"],
                ["slice5.24", "slice5.26", "slice5.28"],
            ]
        ):
            if alex and i in (1, 2):
                h = F.max_pool2d(h, 3, 2)
            elif not alex and i:
                h = F.max_pool2d(h, 2, 2)
            for name in names:
                stride, padding = {"slice1.0": (4, 2), "slice2.3": (1, 2)}.get(name, (1, 1))
                stride, padding = (stride, padding) if alex else (1, 1)
                weight, bias = arrays[f"net.{name}.weight"], arrays[f"net.{name}.bias"]
                h = F.relu(F.conv2d(h, weight, bias, stride, padding))
            found.append(h)
        return found

    unit = lambda a: a / (torch.sqrt((a**2).sum(1, keepdim=True)) + 1e-10)
    total = 0
    for i, (a, b) in enumerate(zip(maps(x), maps(y), strict=True)):
        weighted = F.conv2d((unit(a) - unit(b)) ** 2, arrays[f"lin{i}.model.1.weight"])
        total = total + weighted.mean((1, 2, 3))
    return total.numpy()


@pytest.mark.parity
@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_the_distance_is_that_of_pytorch(network, tmp_path):
    """Fails if a stride, a pool, the colours or the weights of channels are others."""
    pytest.importorskip("torch")
    params = drawn(network)
    write_tensors(params, tmp_path / "lpips.safetensors")
    read = LPIPS(LPIPSFile(str(tmp_path / "lpips.safetensors")))
    assert read.source.network == network
    loaded = read.source.load(read.source.shapes())
    x, y = np.random.default_rng(1).uniform(-1, 1, (2, 3, 64, 64, 3)).astype(np.float32)
    found = jax.jit(read.distance)(loaded, x, y)
    np.testing.assert_allclose(found, peer(network, params, x, y), rtol=1e-4)
    assert np.abs(jax.jit(read.distance)(loaded, x, x)).max() == 0


def test_other_files_are_no_lpips(tmp_path):
    write_tensors({"conv.weight": np.zeros((1, 1))}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"is no LPIPS: it has no 'net.slice1.0.weight'"):
        LPIPSFile(str(tmp_path / "other.safetensors"))
