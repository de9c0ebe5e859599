"""The Denoised Non-local block: projections, attention, residual."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnl.attention import (
    at_least_float32,
    denoised_attention,
    gated_attention,
    mean_attention_row,
    retain_values,
    retention_weights,
)

ATTENTION_SOURCES = ("learnt", "uniform", "mean")


class DenoisedNonLocal2d(nn.Module):
    """Y = γ · (A″V) + X on a feature map X: B×C×H×W (Denoised NL, TNNLS 2023, with d = C/8).

    gate: GR gate, or None for no GR. lr_kernel: LR window, or None for no LR. With neither it is the plain
    non-local block.

    `attention_source` is for measuring what the learnt map is worth, not for training: "uniform" puts 1/N, "mean"
    the image's mean attention row, in place of every row of A; GR, LR and γ stay as they are.
    """

    def __init__(
        self,
        channels: int,
        *,
        gate: str | None = "sigmoid",
        lr_kernel: int | None = 3,
        lr_weights: str = "learnt",
        gamma_init: float = 0.0,
    ):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.full((1,), float(gamma_init)))
        self.gate = gate
        self.lr_kernel = lr_kernel
        self.lr_weights = lr_weights
        self.attention_source = "learnt"

    def forward(self, features: Tensor, class_logits: Tensor) -> Tensor:
        """features: B×C×H×W. class_logits: B×classes×h×w, any size. Returns B×C×H×W."""
        query, key, value = self.query(features), self.key(features), self.value(features)
        class_probs = None if self.gate is None else class_distribution(class_logits, features.shape[2:])
        if self.attention_source == "learnt":
            gathered = denoised_attention(
                query,
                key,
                value,
                class_probs,
                gate=self.gate,
                lr_kernel=self.lr_kernel,
                lr_weights=self.lr_weights,
            )
        else:
            gathered = self._fixed_row_attention(query, key, value, class_probs)
        return self.gamma * gathered + features

    def _fixed_row_attention(self, query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor | None) -> Tensor:
        """The block's product with one and the same raw row for every query."""
        batch, _, height, width = query.shape
        dtype = value.dtype
        query, key, value = at_least_float32(query), at_least_float32(key), at_least_float32(value)
        if self.attention_source == "mean":
            row = mean_attention_row(query, key)
        else:
            row = query.new_full((batch, height, width), 1 / (height * width))
        if self.lr_kernel is not None:
            value = retain_values(value, retention_weights(query, key, self.lr_kernel, self.lr_weights))
        # softmax_j(1 · log row_j) = row_j: a fixed row is attention whose scores ignore the query.
        row_key = row.clamp_min(torch.finfo(row.dtype).tiny).log()[:, None]
        return gated_attention(torch.ones_like(row_key), row_key, value, class_probs, gate=self.gate).to(dtype)

    @torch.no_grad()
    def start_whitened(self, features: Tensor, logit_std: float) -> None:
        """Set W_q = W_k so that each query starts by attending to what is like it.

        Their rows are the leading principal directions of the features, each scaled to the same variance, so that
        rare kinds of cells count as much as frequent ones; the direction of the mean is taken out first, so that no
        key is every query's favourite. The scale gives the scores of centred features the standard deviation
        `logit_std`: there is no 1/√d, so attention is otherwise soon flat or saturated. features: B×C×H×W, typical
        ones, with more cells than channels. Raises ValueError on features that do not vary.
        """
        cells = features.permute(1, 0, 2, 3).flatten(1).double()  # C×cells
        mean = cells.mean(dim=1, keepdim=True)
        centred = cells - mean
        direction = mean / mean.norm().clamp_min(1e-12)
        rest = centred - direction @ (direction.t() @ centred)
        variances, directions = torch.linalg.eigh(rest @ rest.t() / rest.shape[1])  # ascending
        if not variances[-1] > 1e-12:
            raise ValueError(
                "the features do not vary (apart from their brightness), so attention cannot start on them"
            )
        depth = len(self.query.weight)
        variances, directions = variances.flip(0)[:depth], directions.flip(1)[:, :depth]
        # Directions in which nothing varies would be blown up to pure noise.
        whitening = (directions * variances.clamp_min(1e-4 * variances[0]).rsqrt()).t()  # d×C
        projected = whitening @ centred[:, :: max(1, centred.shape[1] // 4096)]
        whitening *= (logit_std / (projected.t() @ projected).std()).sqrt()
        for weight in (self.query.weight, self.key.weight):
            weight.copy_(whitening[:, :, None, None])


def class_distribution(class_logits: Tensor, size: Sequence[int]) -> Tensor:
    """GR's P: logits B×classes×h×w resized (bilinear, align_corners) to `size` = (H, W), then softmax over the classes:
    B×classes×H×W in 0 … 1."""
    resized = F.interpolate(at_least_float32(class_logits), tuple(size), mode="bilinear", align_corners=True)
    return torch.softmax(resized, dim=1)
