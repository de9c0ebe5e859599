"""Watch a model run, and write down each attention that it computes inside the modules that are watched.

Three things see what happens, all of them only while a Recording is entered:

1. A function mode. PyTorch hands every operation on tensors to `Recording.__torch_function__`, which carries it out
   unchanged and then shows it to `analysis.catch.attentions`.
2. Hooks on all modules at once, which say in which module an operation happens. They are PyTorch's global ones: a hook
   on a module itself would make nn.TransformerEncoderLayer leave its native path, and change its last digits. Other
   threads, whose operations are not seen, call them too: these do not count.
3. nn.MultiheadAttention and the encoder around it choose between a native path, which is one operation, and a slow one.
   They take the slow one if a function mode is there. So in evaluation the mode is taken away until they return, and
   what they computed is computed again, for a few rows against their output: `analysis.catch.native`. In training
   there is no native path; then F.multi_head_attention_forward is entered with the mode on.

Compiled parts of the model run uncompiled meanwhile, so that their operations can be seen. Nothing is changed in the
model, and no random number is drawn. What a part computes again for its gradients (checkpointing) is not counted twice.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode, _get_current_function_mode, _pop_mode, _push_mode
from torch.utils import _pytree as pytree

from analysis.catch import native
from analysis.catch.attentions import Call, Gathering, observe, returned
from analysis.catch.keeping import Keeping
from analysis.catch.lineage import Lineage, Lineages, operands_of
from analysis.catch.operations import SILENT

# What takes the place of the values that an attention gathered (…×N×C), from the number of images in the batch.
Replace = Callable[[Gathering, int | None], Tensor]

Paths = dict[str, nn.Module]

# The body of F.multi_head_attention_forward, without its question whether a function mode is there: that would lead
# back to the mode for ever.
_MULTIHEAD_BODY = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    {**F.__dict__, "has_torch_function": lambda tensors: False},
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)


@dataclass(eq=False)
class _Frame:
    """A module that is running. call: if it is watched. away: whether the mode was away before. began: how many calls
    there were before it."""

    module: nn.Module
    call: Call | None
    away: bool
    began: int


class Recording(TorchFunctionMode):
    """Context in which `calls` fills up: one Call for each call of a module of `watched` (path -> module).

    images: length of the first input, None before the model ran. replace: another result for what an attention
    gathered; None leaves the model as it is. keeping: what stays of each attention.
    """

    def __init__(
        self, model: nn.Module, watched: Paths, replace: Replace | None = None, keeping: Keeping | None = None
    ):
        super().__init__()
        self._replace = replace
        self._keeping = keeping or Keeping()
        self._random_state: list[Tensor] = []
        self.calls: list[Call] = []
        self.images: int | None = None
        self._paths = {id(module): path for path, module in watched.items()}
        self._lineages = Lineages(model)
        self._frames: list[_Frame] = []
        self._counts = dict.fromkeys(watched, 0)
        self._away = False
        self._thread = 0
        self._exits = ExitStack()

    def __enter__(self):
        self._thread = threading.get_ident()
        with ExitStack() as exits:
            exits.enter_context(torch.compiler.set_stance("force_eager"))
            exits.callback(register_module_forward_pre_hook(self._before).remove)
            exits.callback(register_module_forward_hook(self._after, with_kwargs=True, always_call=True).remove)
            super().__enter__()
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *exception):
        self._put_away(False)
        super().__exit__(*exception)
        self._frames.clear()
        self._exits.close()

    def __torch_function__(self, function, kinds, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.multi_head_attention_forward:
            with _Pushed(self):
                return _MULTIHEAD_BODY(*args, **kwargs)
        output = function(*args, **kwargs)
        name = getattr(function, "__name__", "").partition(".")[0]  # of an exported graph with its overload: add.Tensor
        if name not in SILENT and not _is_backward():
            with torch.no_grad():
                frame = self._frames[-1] if self._frames else None
                if self.images is None and frame is not None:
                    self.images = _length(self._lineages, args, kwargs)
                gathering = observe(self._call(), frame, self._lineages, name, function, args, kwargs, output)
                if gathering is not None and self._replace is not None:
                    return self._replaced(gathering, output)
        return output

    def _replaced(self, gathering: Gathering, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        assert self._replace is not None
        made = gathering.put_back(self._replace(gathering, self.images)).to(first.dtype)
        self._lineages.put(made, self._lineages.of(first))
        return (made, *output[1:]) if isinstance(output, tuple) else made

    def _call(self) -> Call | None:
        return next((frame.call for frame in reversed(self._frames) if frame.call is not None), None)

    def _put_away(self, away: bool) -> None:
        """Take the mode off PyTorch's stack, or put it back. With another mode on top of it, nothing is gained by it;
        and what is to be replaced must be seen."""
        if self._replace is not None:
            return
        if away and not self._away:
            if _get_current_function_mode() is not self:
                return
            _pop_mode()
        elif self._away and not away:
            _push_mode(self)
        self._away = away

    # --- modules -----------------------------------------------------------------------------------------------------

    def _before(self, module: nn.Module, args: tuple) -> None:
        if _is_elsewhere(self._thread):
            return
        if not self._frames:
            self.images = _batch(args) if self.images is None else self.images
            self._random_state = _random_state()
            self._lineages.begin(args)
        path = self._paths.get(id(module))
        call = None if path is None else self._begin(path, module)
        self._frames.append(_Frame(module, call, self._away, len(self.calls)))
        self._put_away(native.chooses_path(module))

    def _begin(self, path: str, module: nn.Module) -> Call:
        self._counts[path] += 1
        self.calls.append(Call(path, module, self._counts[path]))
        return self.calls[-1]

    def _after(self, module: nn.Module, args: tuple, kwargs: Any = None, output: Any = None) -> None:
        if _is_elsewhere(self._thread):
            return
        at = next((at for at in reversed(range(len(self._frames))) if self._frames[at].module is module), None)
        if at is None:
            return
        frame = self._frames[at]
        del self._frames[at:]
        self._put_away(True)
        try:
            # After an exception PyTorch calls the hook without kwargs.
            if isinstance(kwargs, dict):
                with torch.no_grad():
                    self._finish(frame, args, kwargs, output)
        finally:
            self._put_away(frame.away)

    def _finish(self, frame: _Frame, args: tuple, kwargs: dict, output: Any) -> None:
        module, call = frame.module, frame.call
        if native.chooses_path(module) and self._replace is None:
            self._finish_native(frame, args, kwargs, output)
        elif call is not None and native.is_ours(module):
            call.attentions = [native.of_our_block(module, args, kwargs, output, self._lineages)]
        elif call is not None:
            leaves = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
            returned(call, self._lineages, leaves)
        for own in [call, *self.calls[frame.began :]]:
            if own is not None and not own.ended:
                own.ended = True
                own.random = not all(map(torch.equal, self._random_state, _random_state()))
                self._keeping.keep(own, self.images)

    def uses(self, module: nn.Module) -> bool:
        """Whether a weight of this module took part in what was seen."""
        return any(id(weight) in self._lineages.used for weight in module.parameters())

    def _finish_native(self, frame: _Frame, args: tuple, kwargs: dict, output: Any) -> None:
        """What a module with a native path computed; its output lies where its input does."""
        module = frame.module
        if isinstance(module, nn.MultiheadAttention) and frame.call is not None and not frame.call.attentions:
            frame.call.attentions.append(native.of_multihead(module, args, kwargs, output, self._lineages))
        elif isinstance(module, nn.TransformerEncoderLayer):
            path = self._paths.get(id(module.self_attn))
            # The native path of the layer does not call its attention.
            if path is not None and not any(call.path == path for call in self.calls[frame.began :]):
                call = self._begin(path, module.self_attn)
                call.attentions.append(native.of_encoder_layer(module, args, kwargs, output, self._lineages))
        first = output[0] if isinstance(output, tuple) else output
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if isinstance(first, Tensor) and given is not None and not first.is_nested and first.shape == given.shape:
            self._lineages.put(first, Lineage(self._lineages.of(given).place))


def _batch(args: tuple) -> int | None:
    """The length of the first tensor that the model is given."""
    leaves = (leaf for leaf in pytree.tree_leaves(args) if isinstance(leaf, Tensor) and leaf.ndim)
    return next((len(leaf) for leaf in leaves), None)


def _length(lineages: Lineages, args: tuple, kwargs: dict) -> int | None:
    """Of the batch, where the model was given it by name: that of the first activations that an operation takes."""
    given = (operand for operand in operands_of(args, kwargs) if operand.ndim >= 3)
    return next((len(operand) for operand in given if lineages.of(operand).active), None)


class _Pushed:
    """The mode on PyTorch's stack once more, without entering it again."""

    def __init__(self, mode: TorchFunctionMode):
        self._mode = mode

    def __enter__(self):
        _push_mode(self._mode)

    def __exit__(self, *exception):
        _pop_mode()


def _random_state() -> list[Tensor]:
    """Of the generators that dropout draws from."""
    states = [torch.get_rng_state()]
    return states + torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else states


def _is_elsewhere(thread: int) -> bool:
    """Whether a module runs for gradients alone, or in another thread than this."""
    return _is_backward() or threading.get_ident() != thread


def _is_backward() -> bool:
    return torch._C._current_graph_task_id() != -1
