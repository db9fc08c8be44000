"""Control networks from diffusers' config.json: ControlNets and T2I-Adapters."""

from typing import Any

from jaxdiff.networks.control import HINT_CHANNELS, control_of
from jaxdiff.networks.t2i_adapter import T2IAdapter
from jaxdiff.pretrained.config import Config
from jaxdiff.pretrained.peers import Described, unet2d_condition


def controlnet(config: Config, dtype: Any) -> Described:
    """Returns the network of ControlNetModel, of Stable Diffusion 1 and 2 and SDXL."""
    down = config.need("down_block_types", tuple)
    up = [name.replace("Down", "Up") for name in reversed(down)]
    whole = config.implied(up_block_types=up, out_channels=config.need("in_channels"))
    whole.only(controlnet_conditioning_channel_order="rgb", only_cross_attention=False)
    hint = whole.get("conditioning_embedding_out_channels", HINT_CHANNELS)
    channels = whole.get("conditioning_channels", 3)
    base, shape = unet2d_condition(whole, dtype)
    whole.finish()
    network = control_of(base, channels, 2 ** (len(hint) - 1))
    return Described(network.clone(hint_channels=hint), shape)


def t2i_adapter(config: Config, dtype: Any) -> Described:
    """Returns the network of T2IAdapter, for Stable Diffusion or SDXL (Mou et al., 2023)."""
    kinds = {"full_adapter": False, "full_adapter_xl": True}
    if (kind := config.get("adapter_type", "full_adapter")) not in kinds:
        raise config.error("adapter_type", kind, f"must be one of {', '.join(kinds)}")
    network = T2IAdapter(
        config.get("channels", (320, 640, 1280, 1280)),
        config.get("num_res_blocks", 2),
        config.get("downscale_factor", 8),
        kinds[kind],
        config.get("in_channels", 3),
        dtype,
    )
    return Described(network, (8, 8, 4))
