"""A small vision transformer that segments street scenes, in plain PyTorch: another network to look at.

After Dosovitskiy et al. (An Image is Worth 16x16 Words, ICLR 2021), with the convolutional stem of Xiao et al. (Early
Convolutions Help Transformers See Better, NeurIPS 2021) in the place of the patches, and a linear decoder as in
Segmenter (Strudel et al., ICCV 2021). Nothing in it knows of GR, LR or of being looked at.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 12  # pixels per cell
GRID = (20, 27)  # cells of the position embedding, of 240×324 pixels
FINER = 3  # rows and columns of predictions in a cell


class Attention(nn.Module):
    """Multi-head self-attention over the cells, by the cosine of query and key times each head's sharpness.

    Normalised queries and keys are those of Henry et al. (Query-Key Normalization for Transformers, EMNLP 2020). Keys
    start equal to queries, so that a cell begins by looking at what is like it, and heads start from broad to sharp.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels)
        self.sharpness = nn.Parameter(5.0 * 2.0 ** torch.arange(heads)[:, None, None])
        self.proj = nn.Linear(channels, channels)
        self.key.load_state_dict(self.query.state_dict())

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: B×N×C -> the same."""
        batch, number, channels = tokens.shape
        query, key, value = (
            layer(tokens).view(batch, number, self.heads, -1).transpose(1, 2)  # B×heads×N×C/heads
            for layer in (self.query, self.key, self.value)
        )
        query, key = self.sharpness * F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        gathered = F.scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value, scale=1.0)
        return self.proj(gathered.transpose(1, 2).reshape(batch, number, channels))


class Block(nn.Module):
    """Attention, then two layers for each cell by itself; both add to what comes in."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 3 * channels), nn.GELU(), nn.Linear(3 * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: B×N×C -> the same."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(nn.Module):
    """Images B×3×H×W, normalised with ImageNet's means and deviations -> logits B×classes×H×W.

    The grid has a cell for every 12 pixels, ⌈H/12⌉×⌈W/12⌉; the position embedding is resized to it.
    """

    def __init__(self, num_classes: int, channels: int = 128, depth: int = 5, heads: int = 4):
        super().__init__()
        self.stem = nn.Sequential(
            _convolution(3, channels // 4, 7, stride=3),
            _convolution(channels // 4, channels // 2, 3, stride=2),
            _convolution(channels // 2, channels, 3, stride=2),
            nn.Conv2d(channels, channels, 1),
        )
        self.position = nn.Parameter(torch.randn(1, channels, *GRID) * 0.02)
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, num_classes * FINER**2)

    def forward(self, images: Tensor) -> Tensor:
        """images: B×3×H×W, each side of 12 pixels or more -> logits B×classes×H×W."""
        maps = self.stem(images)
        size = maps.shape[2:]
        position = F.interpolate(self.position, size, mode="bilinear") if size != GRID else self.position
        tokens = (maps + position).flatten(2).transpose(1, 2)  # B×N×C
        for block in self.blocks:
            tokens = block(tokens)
        logits = self.head(self.norm(tokens)).transpose(1, 2).unflatten(2, size)  # B×classes·9×h×w
        return F.interpolate(F.pixel_shuffle(logits, FINER), images.shape[2:], mode="bilinear")


def _convolution(in_channels: int, channels: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.GELU(),
    )
