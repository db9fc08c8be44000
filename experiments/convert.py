"""Converts a file of PyTorch to safetensors, without PyTorch, and runs nothing of the file.

python experiments/convert.py --file=model.ckpt
python experiments/convert.py --file=DiT-XL-2-256x256.pt --table=ema --dtype=bfloat16
"""

from pathlib import Path
from typing import Any

import cli
import jax.numpy as jnp
import numpy as np

from jaxdiff.files import check_writable
from jaxdiff.options import FloatType, check
from jaxdiff.pretrained.files import PICKLED, write_tensors
from jaxdiff.pretrained.pickled import read_pickled

cli.flag("file", cli.Text, None, "A .pt, .pth, .ckpt or .bin file.")
cli.flag("table", cli.Text, None, "The table of tensors, where the file has several: ema.")
cli.flag("dtype", cli.Text, None, "Such as bfloat16, for all numbers; by default as they are.")
cli.flag("out", cli.Text, None, "A .safetensors file; by default beside the other.")


def main() -> None:
    """Reads the tensors, and writes them."""
    source = Path(cli.FLAGS.file or "")
    if source.suffix not in PICKLED:
        raise ValueError(f"file={str(source)!r} must end in {', '.join(PICKLED)}")
    if not source.is_file():
        raise ValueError(f"file: there is no file {str(source)!r}")
    out = Path(cli.FLAGS.out or source.with_suffix(".safetensors"))
    if out.suffix != ".safetensors":
        raise ValueError(f"out={str(out)!r} must end in .safetensors")
    if cli.FLAGS.dtype:
        check("dtype", FloatType, cli.FLAGS.dtype)
    check_writable(out)
    tensors = read_pickled(source, cli.FLAGS.table or "")
    write_tensors({key: cast(np.asarray(each)) for key, each in tensors.items()}, out)
    print(f"{out}: {len(tensors)} tensors")


def cast(array: np.ndarray) -> Any:
    """Returns an array in the type that is asked for; one of whole numbers as it is."""
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    return array.astype(jnp.dtype(cli.FLAGS.dtype)) if cli.FLAGS.dtype and floating else array


if __name__ == "__main__":
    cli.run(main)
