"""Small modules that compute attention in every way that libraries write it, each with its truth written out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEIGHT, WIDTH, CHANNELS, HEADS = 3, 5, 12, 3
CELLS, DEPTH = HEIGHT * WIDTH, CHANNELS // HEADS


def written_out(query: Tensor, key: Tensor, scale: float, bias: Tensor | float = 0.0) -> Tensor:
    """softmax(scale · q·k + bias) entry by entry in float64: …×N×d, …×M×d -> …×N×M."""
    scores = (query.double()[..., :, None, :] * key.double()[..., None, :, :]).sum(-1) * scale + bias
    powers = torch.exp(scores - scores.amax(-1, keepdim=True))
    return powers / powers.sum(-1, keepdim=True)


class Attention(nn.Module):
    """Tokens B×N×C -> B×N×C with heads; `weights` keeps B×heads×N×N, written out independently of `product`.

    product: (query, key, value, scale) -> gathered. bias: what the product adds to the scores.
    """

    def __init__(self, product, scale=DEPTH**-0.5, bias=0.0):
        super().__init__()
        self.qkv, self.proj = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        nn.init.normal_(self.qkv.weight, std=0.6)
        self.product, self.scale, self.bias = product, scale, bias

    def forward(self, x):
        batch, tokens, _ = x.shape
        query, key, value = self.qkv(x).reshape(batch, tokens, 3, HEADS, DEPTH).permute(2, 0, 3, 1, 4).unbind(0)
        self.weights = written_out(query.detach(), key.detach(), self.scale, self.bias)
        gathered = self.product(query, key, value, self.scale)
        return self.proj(gathered.transpose(1, 2).reshape(x.shape))


class ViT(nn.Module):
    """Patches of 4 pixels, `extra` class tokens (leading or trailing), one attention with a residual."""

    def __init__(self, attention, extra=1, trailing=False):
        super().__init__()
        self.embed = nn.Conv2d(3, CHANNELS, 4, 4)
        self.extra = nn.Parameter(torch.randn(1, extra, CHANNELS))
        self.position = nn.Parameter(torch.randn(1, CELLS, CHANNELS))
        self.norm, self.attn, self.trailing = nn.LayerNorm(CHANNELS), attention, trailing

    def forward(self, images):
        x = self.embed(images).flatten(2).transpose(1, 2) + self.position
        parts = [self.extra.expand(len(x), -1, -1), x]
        x = torch.cat(parts[::-1] if self.trailing else parts, dim=1)
        return x + self.attn(self.norm(x))


def images(batch=2):
    return torch.randn(batch, 3, 4 * HEIGHT, 4 * WIDTH)


def fused(query, key, value, scale):
    return F.scaled_dot_product_attention(query, key, value, scale=scale)


def matmul(query, key, value, scale):
    return ((query * scale) @ key.transpose(-2, -1)).softmax(-1) @ value


def einsum(query, key, value, scale):
    weights = torch.softmax(torch.einsum("b h i d, b h j d -> b h i j", query, key) * scale, dim=-1)
    return torch.einsum("... i j, ... j d -> ... i d", weights, value)


def batched(query, key, value, scale):
    q, k, v = (tensor.reshape(-1, *tensor.shape[-2:]) for tensor in (query, key, value))
    scores = torch.baddbmm(q.new_zeros(1), q, k.transpose(1, 2), beta=0, alpha=scale)
    return torch.bmm(F.softmax(scores, 2), v).view_as(query)


def functional(query, key, value, scale):
    return torch.matmul(F.softmax(torch.matmul(query, key.mT).div(1 / scale), dim=3), value)


def module(query, key, value, scale):
    return nn.Softmax(-1)(query @ key.transpose(-2, -1) * scale) @ value


def in_place(query, key, value, scale):
    scores = query @ key.transpose(-2, -1)
    scores *= scale
    weights = scores.softmax(-1)
    gathered = weights @ value
    query.zero_(), key.zero_(), weights.zero_()
    return gathered


def values_first(query, key, value, scale):
    """As non-local blocks write it, channels before cells."""
    weights = (scale * query @ key.transpose(-2, -1)).softmax(-1)
    return (value.transpose(-2, -1) @ weights.transpose(-2, -1)).transpose(-2, -1)


def keys_first(query, key, value, scale):
    """As self-attention GANs write it: rows of the product are keys."""
    weights = (scale * key @ query.transpose(-2, -1)).softmax(-2)
    return torch.einsum("bhji,bhjd->bhid", weights, value)


def loop_free_scores(query, key, value, scale):
    query, key = query * scale**0.5, key * scale**0.5
    return torch.special.softmax(query.matmul(key.transpose(-2, -1)), -1).matmul(value)


PLAIN = [fused, matmul, einsum, batched, functional, module, in_place, values_first, keys_first, loop_free_scores]
