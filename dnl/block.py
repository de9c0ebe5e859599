"""The Denoised Non-local block: projections, attention, residual."""

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

    def _fixed_row_attention(self, query, key, value, class_probs):
        """The block's product with one and the same raw row for every query."""
        batch, _, height, width = query.shape
        if self.attention_source == "mean":
            row = mean_attention_row(query, key)
        else:
            row = query.new_full((batch, height, width), 1 / (height * width))
        if self.lr_kernel is not None:
            value = retain_values(value, retention_weights(query, key, self.lr_kernel, self.lr_weights))
        # softmax_j(1 · log row_j) = row_j: a fixed row is attention whose scores ignore the query.
        row_key = row.clamp_min(torch.finfo(row.dtype).tiny).log()[:, None]
        return gated_attention(torch.ones_like(row_key), row_key, value, class_probs, gate=self.gate)

    @torch.no_grad()
    def start_at_unit_spread(self, features: Tensor, logit_std: float) -> None:
        """Start query and key so that the attention is neither flat nor saturated on the given features.

        W_q becomes orthogonal, W_k equal to it, both scaled so that the scores of mean-centred features have
        standard deviation `logit_std`. Without the 1/√d of other attentions the scores otherwise run away.
        features: B×C×H×W, a typical batch.
        """
        nn.init.orthogonal_(self.query.weight)
        centred = features - features.mean(dim=(0, 2, 3), keepdim=True)
        projected = F.conv2d(centred, self.query.weight).flatten(2)
        spread = torch.einsum("bdm,bdn->bmn", projected, projected).std()
        self.query.weight *= (logit_std / spread).sqrt()
        self.key.weight.copy_(self.query.weight)


def class_distribution(class_logits: Tensor, size) -> Tensor:
    """GR's P: logits B×classes×h×w resized (bilinear, align_corners) to `size`, then softmax over the classes."""
    resized = F.interpolate(at_least_float32(class_logits), tuple(size), mode="bilinear", align_corners=True)
    return torch.softmax(resized, dim=1)
