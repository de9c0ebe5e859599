"""What stays of the attentions of a call that has ended: the heads that are asked for, within a limit of memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.catch.attentions import NOT_KEPT, Attention, Call
from analysis.catch.layout import Layout, layout_of

# Of all attentions that a Recording keeps.
MAX_BYTES = 4 * 2**30


class Keeping:
    """limit: bytes that all attentions together may take. heads: of each, those to keep; None for all."""

    def __init__(self, limit: int = MAX_BYTES, heads: Sequence[int] | None = None):
        self._left = self._limit = limit
        self._heads = heads

    def keep(self, call: Call, images: int | None) -> None:
        """Give up what is not needed any more, heads that nobody asked for, and attentions beyond the limit. images: in
        the batch, None if unknown."""
        for softmax in call.softmaxes:
            softmax.scores = None if softmax.scores is None else NOT_KEPT
        for attention in call.attentions:
            if self._heads is not None:
                _keep_heads(attention, self._heads, images)
            if attention.weights is None:
                continue
            size = attention.weights.nbytes
            if size > self._left:
                attention.weights = None
                attention.problem = (
                    f"would bring what is kept beyond {self._limit / 2**30:.3g} GiB; watch fewer modules at a time, or "
                    "give watch(…, limit=bytes)"
                )
            else:
                self._left -= size


def _keep_heads(attention: Attention, heads: Sequence[int], images: int | None) -> None:
    if attention.weights is None:
        return
    try:
        whole = layout_of(attention, images)
    except ValueError:  # which of its maps are heads is not known: it says so when it is asked for
        return
    count = whole.groups.shape[2]
    kept = [head for head in heads if head < count]
    if not kept:
        attention.weights = None
        attention.problem = f"has the heads 0 … {count - 1}, and none of those that were to be kept"
        return
    groups = whole.groups[:, :, kept]
    attention.weights = attention.weights.of_groups(groups.ravel().tolist())
    attention.layout = Layout(np.arange(groups.size).reshape(groups.shape), whole.query, whole.key)
    attention.kept, attention.heads = tuple(kept), count
