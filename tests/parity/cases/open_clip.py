"""CLIP under OpenCLIP's own names, beside the same blocks written with PyTorch's attention."""

import functools

from jaxdiff.networks.text.clip import (
    CLIPText,
    CLIPTextSettings,
    CLIPVision,
    CLIPVisionSettings,
)
from jaxdiff.pretrained.tables import text as tables
from tests.parity.cases import Case, Ours, Peer
from tests.parity.cases import text as encoders

SIZES = {**encoders.SIZES, "activation": "gelu", "projection": 10}


def towers():
    """Returns (text, image), modules with OpenCLIP's parameter names; queries to values fused."""
    import torch
    from torch import nn

    width, heads = SIZES["width"], SIZES["heads"]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
            self.mlp = nn.ModuleDict(
                {
                    "c_fc": nn.Linear(width, SIZES["mlp_width"]),
                    "c_proj": nn.Linear(SIZES["mlp_width"], width),
                }
            )

        def forward(self, x, mask):
            y = self.ln_1(x)
            x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
            hidden = nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x)))
            return x + self.mlp["c_proj"](hidden)

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.resblocks = nn.ModuleList([Block() for _ in range(SIZES["layers"])])

        def forward(self, x, mask=None):
            for block in self.resblocks:
                x = block(x, mask)
            return x

    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = nn.Embedding(encoders.VOCABULARY, width)
            self.positional_embedding = nn.Parameter(torch.zeros(12, width))
            self.transformer = Transformer()
            self.ln_final = nn.LayerNorm(width)
            self.text_projection = nn.Parameter(torch.zeros(width, SIZES["projection"]))

        def forward(self, ids):
            x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
            mask = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)
            x = self.ln_final(self.transformer(x, mask))
            return x, x[torch.arange(len(ids)), ids.argmax(-1)] @ self.text_projection

    class Image(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, width, 4, 4, bias=False)
            self.class_embedding = nn.Parameter(torch.zeros(width))
            self.positional_embedding = nn.Parameter(torch.zeros(10, width))
            self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
            self.transformer = Transformer()
            self.proj = nn.Parameter(torch.zeros(width, SIZES["projection"]))

        def forward(self, x):
            x = self.conv1(x).flatten(2).transpose(1, 2)
            first = self.class_embedding.expand(len(x), 1, -1)
            x = torch.cat([first, x], 1) + self.positional_embedding
            x = self.transformer(self.ln_pre(x))
            return x, self.ln_post(x[:, 0]) @ self.proj

    return Text(), Image()


def text_ours() -> Ours:
    network = CLIPText(
        CLIPTextSettings(encoders.VOCABULARY, 12, eos=encoders.VOCABULARY - 1, **SIZES)
    )
    return encoders.ours(network, tables.open_clip_text(), (9,), masked=False)


def text_peer() -> Peer:
    import torch

    module, _ = towers()

    def run():
        tokens, pooled = module(torch.tensor(encoders.batch(9)[0]))
        return {"tokens_9": tokens, "pooled_9": pooled}

    return Peer(module, run)


def image_ours() -> Ours:
    network = CLIPVision(CLIPVisionSettings(12, 4, **SIZES))
    return encoders.vision_ours(network, tables.open_clip_vision(""))


def image_peer() -> Peer:
    import torch

    _, module = towers()

    def run():
        x = torch.tensor(encoders.images(12)).permute(0, 3, 1, 2)
        tokens, pooled = module(x)
        return {"tokens": tokens, "pooled": pooled}

    return Peer(module, run)


def cases() -> list[Case]:
    """Returns the two encoders."""
    make = functools.partial(Case, package="torch", gradients=True)
    return [
        make("OpenCLIP text", "fused queries, keys and values", ours=text_ours, peer=text_peer),
        make("OpenCLIP vision", "fused queries, keys and values", ours=image_ours, peer=image_peer),
    ]
