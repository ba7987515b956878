"""A small vision transformer for the embedded demo network `demo/vit`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 8


class Attention(nn.Module):
    """Multi-head self-attention; the output of each head, before they are mixed, is a layer: ``heads.0``, ``heads.1``, ...

    Shape: (B, T, C) -> (B, T, C).
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.qkv = nn.Linear(width, 3 * width)
        self.heads = nn.ModuleList(nn.Identity() for _ in range(count))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.count, width // self.count).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).unbind(1)
        out: Tensor = self.out(torch.cat([head(x) for head, x in zip(self.heads, attended, strict=True)], 2))
        return out


class Block(nn.Module):
    """A transformer block with the normalisations in front (pre-norm; Dosovitskiy et al. 2021). (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class DemoViT(nn.Module):
    """A vision transformer of patches of 8 px (Dosovitskiy et al. 2021), without class token: the tokens' mean is classified.

    Positions are fixed sines and cosines of row and column (Beyer, Zhai & Kolesnikov 2022, "Better plain ViT baselines"), so that
    pictures may have any size; sides that are no multiple of 8 are resized up to the next one. Layers: ``patches``
    (B, T, C) of T patches row by row, ``blocks.0`` to ``blocks.5`` (the residual stream), within them ``attention.heads.0`` to ``attention.heads.3`` and
    ``mlp.1``, then ``norm`` and ``fc``.

    Args:
        num_classes: number of class logits.
        width: C, channels of the residual stream.
        depth: number of blocks.
        heads: attention heads of a block.

    Attributes:
        keep: share of the tokens that are kept in training mode, chosen at random for each picture (Liu et al. 2023, "PatchDropout").

    Shape: normalised photos (B, 3, H, W), H and W of at least 8 (trained at 64) -> logits (B, num_classes).
    """

    def __init__(self, num_classes: int, width: int = 128, depth: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.patches = nn.Identity()
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)
        self.keep = 1.0
        self.apply(_initialize)

    def forward(self, x: Tensor) -> Tensor:
        size = [math.ceil(side / PATCH) * PATCH for side in x.shape[-2:]]
        if size != list(x.shape[-2:]):
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        maps = self.embed(x)
        x = self.patches(maps.flatten(2).transpose(1, 2) + _positions(maps))
        if self.training and self.keep < 1:
            order = torch.rand(x.shape[:2], device=x.device).argsort(1)[:, : round(self.keep * x.shape[1])]
            x = x.gather(1, order[..., None].expand(-1, -1, x.shape[2]))
        logits: Tensor = self.fc(self.norm(self.blocks(x)).mean(1))
        return logits


def _positions(maps: Tensor) -> Tensor:
    """Sines and cosines of the rows and columns of (B, C, H, W) maps, counted from the middle: (H * W, C)."""
    channels, height, width = maps.shape[1:]
    quarter = channels // 4
    rates = 10.0 ** -torch.linspace(0, 1.5, quarter, device=maps.device)
    rows = (torch.arange(height, device=maps.device) - (height - 1) / 2)[:, None] * rates
    columns = (torch.arange(width, device=maps.device) - (width - 1) / 2)[:, None] * rates
    by_row = torch.cat([rows.sin(), rows.cos()], 1)[:, None].expand(-1, width, -1)
    by_column = torch.cat([columns.sin(), columns.cos()], 1)[None].expand(height, -1, -1)
    return torch.cat([by_row, by_column], 2).reshape(height * width, channels)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
