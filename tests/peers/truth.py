"""What a module's softmax gave to the values, seen from below: the operators that PyTorch itself carries out.

A dispatch mode sees each operator of the ATen library while a module is running, with fused attention and native paths
switched off, so that every softmax and every product is an operator of its own. Nothing is shared with `analysis`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
SOFTMAXES = {aten._softmax.default, aten._safe_softmax.default}


@dataclass
class Seen:
    """Maps (…×queries×keys, float64) that multiplied values in one call, in order; softmaxes: how many there were."""

    maps: list[Tensor] = field(default_factory=list)
    softmaxes: int = 0


class _Operators(TorchDispatchMode):
    """Keeps, while it is on, what a softmax made of and which product took it up."""

    def __init__(self):
        super().__init__()
        self.seen: Seen | None = None
        self._open: list[Tensor] = []

    def start(self) -> None:
        self.seen, self._open = Seen(), []

    def __torch_dispatch__(self, operator, kinds, args=(), kwargs=None):
        output = operator(*args, **(kwargs or {}))
        if self.seen is not None:
            if operator in SOFTMAXES:
                axis = args[1] % output.ndim
                self.seen.softmaxes += 1
                self._open.append(output.detach().movedim(axis, -1))
            elif operator in (aten.bmm.default, aten.mm.default):
                self._product(args[0].detach(), args[1].detach())
        return output

    def _product(self, first: Tensor, second: Tensor) -> None:
        """A product with as many weights as an open softmax has takes it up; heads may have been mixed on the way, and
        the softmax may have run over all pairs together."""
        for number, weights in enumerate(self._open):
            for operand in (first, second.transpose(-2, -1)):
                *_, queries, keys = operand.shape
                if operand.numel() == weights.numel() and weights.shape[-1] in (keys, queries * keys):
                    shape = weights.shape if weights.shape[-1] == keys else operand.shape
                    self.seen.maps.append(operand.double().reshape(shape).clone())
                    del self._open[number]
                    return


@contextmanager
def watching(module: nn.Module):
    """Context that yields a function giving what the last call of the module showed."""
    operators, last = _Operators(), []

    def enter(*_):
        operators.start()

    def leave(*_):
        last[:] = [operators.seen]
        operators.seen = None

    handles = [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    native = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), operators:
            yield lambda: last[0] if last else None
    finally:
        torch.backends.mha.set_fastpath_enabled(native)
        for handle in handles:
            handle.remove()
