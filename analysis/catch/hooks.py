"""Catch the queries and keys of any attention module while a model runs, and make a Capture of them.

    with analysis.hook(model, "encoder.layers.3.self_attention") as caught:
        model(images)
    capture = caught.capture(14, 14, class_tokens=1, head=0, labels=labels)

Four kinds of module are known: `nn.MultiheadAttention`; a fused `qkv` projection, as in many vision transformers; two
submodules that give query and key, as in non-local blocks; and this project's own DenoisedNonLocal2d, whose class
distribution is caught as well. What a module does to query and key *after* its projections (rotary positions, a bias
on the scores, windows, masks) is not seen; `nn.MultiheadAttention` is refused where a mask is at work.
"""

import difflib
import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from analysis.capture import Capture
from dnl.network import DenoisedNonLocal2d, class_distribution

# Query and key as they are called in published code, the more telling names first.
PAIRS = (
    ("query", "key"),
    ("query_conv", "key_conv"),
    ("q_proj", "k_proj"),
    ("to_q", "to_k"),
    ("theta", "phi"),
    ("f_query", "f_key"),
    ("q", "k"),
    ("wq", "wk"),
    # SAGAN's letters: β_ji = softmax_i(f(x_i) · g(x_j)) is what j gives to i, so that g asks and f is asked.
    ("g", "f"),
)
FUSED = ("qkv", "to_qkv")
NORMS = ("q_norm", "k_norm")
HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")


class CaughtAttention:
    """What was caught: `query`, `key` B×heads×N×d (as projected, unscaled), `scale`, `size` (h, w) where the module
    works on maps, `class_probs` B×classes×h×w where it has a gate, `calls` of the module. The last call counts.
    """

    def __init__(self, module: nn.Module, path: str, scale: float | None):
        self.path = path or type(module).__name__
        self.query: Tensor | None = None
        self.key: Tensor | None = None
        self.class_probs: Tensor | None = None
        self.size: tuple[int, int] | None = None
        self.calls = 0
        self.problem: str | None = None
        self.own: dict = {}
        self._module = module
        self._scale = scale
        self._convolved = False

    @property
    def scale(self) -> float:
        """What q·k is multiplied with: as given to `hook`, or else as the module does."""
        if self._scale is not None:
            return self._scale
        root = math.sqrt(self._caught()[0].shape[-1])
        own = getattr(self._module, "scale", None)
        if isinstance(own, Tensor):
            if own.numel() != 1:
                raise ValueError(f"{self.path!r} has a scale of {own.numel()} values; pass hook(…, scale=…) one number")
            own = own.item()
        if isinstance(own, (int, float)):
            # Some modules keep √d and divide by it.
            return 1 / root if math.isclose(own, root, rel_tol=1e-4) else float(own)
        return 1.0 if self._convolved and not getattr(self._module, "use_scale", False) else 1 / root

    def capture(
        self,
        height: int | None = None,
        width: int | None = None,
        *,
        item: int = 0,
        head: int | str = "mean",
        **rest: Any,
    ) -> Capture:
        """The attention of one image of the batch, by `Capture.from_qk`, which takes `head` and `rest`.

        height, width: cells; needed where the module sees a sequence of tokens, known where it sees a map. item: which
        image of the batch. rest: class_tokens, image, labels, class_probs and so on; a DenoisedNonLocal2d gives
        class_probs, gate, lr_kernel and lr_weights itself. Raises ValueError for what does not fit.
        """
        query, key = self._caught()
        if self.size is not None:
            if (height, width) not in ((None, None), self.size):
                raise ValueError(
                    f"{self.path!r} works on a map of {self.size[0]}×{self.size[1]} cells, not {height}×{width}; leave "
                    "height and width out"
                )
            height, width = self.size
        elif height is None or width is None:
            raise ValueError(
                f"{self.path!r} sees {query.shape[2]} tokens; give the height and width of their map"
                + _square_hint(query.shape[2])
            )
        if not 0 <= item < len(query):
            raise ValueError(f"item is {item}, but the batch has the images 0 … {len(query) - 1}")
        own = dict(self.own)
        if self.class_probs is not None:
            own["class_probs"] = self.class_probs[item]
        rest = own | {"name": self.path} | rest
        return Capture.from_qk(query[item], key[item], height, width, head=head, scale=self.scale, **rest)

    def _keep(self, query: Tensor, key: Tensor) -> None:
        """Copies, since a module may go on to work in place."""
        self.problem = None
        self.query, self.key = query.detach().clone(), key.detach().clone()

    def _caught(self) -> tuple[Tensor, Tensor]:
        """Query and key. Raises ValueError without them."""
        if self.problem is not None:
            raise ValueError(self.problem)
        if self.query is None or self.key is None:
            raise ValueError(
                f"{self.path!r} was not called while it was hooked, so nothing was caught; run the model inside the "
                "`with` block, and check that this module takes part"
            )
        return self.query, self.key


@contextmanager
def hook(
    model: nn.Module,
    path: str,
    *,
    query: str | None = None,
    key: str | None = None,
    heads: int | None = None,
    scale: float | None = None,
) -> Iterator[CaughtAttention]:
    """Catch query and key of the attention module at `path` of `model` (dots as in `named_modules`) during one forward.

    query, key: names of the module's submodules that give query and key, where they are not among PAIRS. heads: into
    how many the channels are split, where the module does not say (HEAD_COUNTS; else 1). scale: what the model
    multiplies q·k with; None takes the module's own `scale`, or else 1/√d of a head, but 1 where convolutions give
    query and key, as non-local blocks do (unless `use_scale` is set). A fused projection is read as query, key, value
    one after another, each split into heads.

    The model's inputs and outputs stay as they are, and its hooks vanish with the block, whatever happens in it. (While
    any hook is on, PyTorch leaves the fused inference path of nn.TransformerEncoderLayer, as it does in training: its
    last digits may differ from those of that path.) Raises ValueError for a path or module that cannot be hooked, and
    at the end where the module was never called or its attention is not softmax(scale · q·k) over all tokens.
    """
    if heads is not None and heads < 1:
        raise ValueError(f"heads is {heads}; it must be 1 or more")
    module = _module_at(model, path)
    caught = CaughtAttention(module, path, scale)
    handles = _attach(module, caught, query, key, heads)
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()
    caught._caught()


def _module_at(model: nn.Module, path: str) -> nn.Module:
    modules = dict(model.named_modules())
    if path in modules:
        return modules[path]
    near = difflib.get_close_matches(path, modules, n=3, cutoff=0.5)
    last = path.rpartition(".")[2]
    near += [name for name in modules if name.rpartition(".")[2] == last and name not in near][: 3 - len(near)]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see model.named_modules() for its paths."
    raise ValueError(f"the model has no module {path!r}; {hint}")


def _attach(
    module: nn.Module, caught: CaughtAttention, query: str | None, key: str | None, heads: int | None
) -> list[RemovableHandle]:
    """Hooks for the kind of attention that `module` is."""
    if (query is None) != (key is None):
        raise ValueError("only one of query and key is named; name both")
    if query is None and isinstance(module, nn.MultiheadAttention):
        return _attach_multihead(module, caught)
    fused = next((name for name in FUSED if isinstance(getattr(module, name, None), nn.Module)), None)
    names = _named_pair(module) if query is None or key is None else (query, key)
    if query is None and (fused or names) and _has_norms(module):
        # A norm on query and key comes after their projection: it gives what the attention sees.
        return _attach_pair(module, caught, NORMS, heads)
    if query is None and fused:
        return _attach_fused(module, caught, fused, heads)
    if names is None:
        children = ", ".join(name for name, _ in module.named_children()) or "none"
        raise ValueError(
            f"no query and key were recognised in {caught.path!r} ({type(module).__name__}; its submodules: "
            f"{children}); name them, as in hook(…, query='conv1', key='conv2')"
        )
    handles = _attach_pair(module, caught, names, heads)
    if isinstance(module, DenoisedNonLocal2d):
        handles.append(_attach_class_probs(module, caught))
    return handles


# --- the kinds of attention ------------------------------------------------------------------------------------------


def _attach_multihead(module: nn.MultiheadAttention, caught: CaughtAttention) -> list[RemovableHandle]:
    """Its projections are no submodules: they are repeated on its inputs."""
    signature = inspect.signature(module.forward)

    def catch(module: nn.MultiheadAttention, args: tuple, kwargs: dict[str, Any]) -> None:
        given = signature.bind(*args, **kwargs).arguments
        caught.calls += 1
        caught.problem = _multihead_problem(module, given, caught.path)
        if caught.problem is None:
            with torch.no_grad():
                caught._keep(*_multihead_projections(module, given["query"], given["key"]))

    return [module.register_forward_pre_hook(catch, with_kwargs=True)]


def _multihead_problem(module: nn.MultiheadAttention, given: dict, path: str) -> str | None:
    masks = [given[name] for name in ("attn_mask", "key_padding_mask") if given.get(name) is not None]
    if given.get("is_causal") or any(bool(mask.any()) for mask in masks):
        return f"{path!r} ran with a mask, so its attention is not softmax(q·k) over all tokens; run it without one"
    if module.bias_k is not None or module.add_zero_attn:
        return (
            f"{path!r} adds a key of its own to the tokens (add_bias_kv or add_zero_attn), so its attention is not "
            "softmax(q·k) over the tokens; it cannot be captured"
        )
    return None


def _multihead_projections(module: nn.MultiheadAttention, query: Tensor, key: Tensor) -> list[Tensor]:
    """query, key as the module gets them -> B×heads×N×d each."""
    if module.in_proj_weight is not None:
        weights = module.in_proj_weight.chunk(3)[:2]
    else:
        weights = module.q_proj_weight, module.k_proj_weight
    biases = (None, None) if module.in_proj_bias is None else module.in_proj_bias.chunk(3)[:2]
    projected = []
    for tokens, weight, bias in zip((query, key), weights, biases, strict=True):
        rows = F.linear(tokens, weight, bias)
        if rows.ndim == 2:
            rows = rows[None]  # N×E, without a batch
        elif not module.batch_first:
            rows = rows.transpose(0, 1)  # N×B×E
        projected.append(_split_heads(rows, module.num_heads))
    return projected


def _attach_fused(module: nn.Module, caught: CaughtAttention, name: str, heads: int | None) -> list[RemovableHandle]:
    count = heads or _head_count(module)

    def catch(projection: nn.Module, args: tuple, output: Tensor) -> None:
        caught.calls += 1
        if output.ndim != 3 or output.shape[2] % (3 * count):
            caught.problem = (
                f"{_joined(caught.path, name)!r} gives {_shape(output)}; it must be B×N×3·C with C a multiple of "
                f"{count} heads"
            )
            return
        caught._keep(*(_split_heads(part, count) for part in output.chunk(3, dim=2)[:2]))

    return [getattr(module, name).register_forward_hook(catch)]


def _attach_pair(
    module: nn.Module, caught: CaughtAttention, names: Sequence[str], heads: int | None
) -> list[RemovableHandle]:
    """Hooks on the two submodules, which give maps B×C×h×w, or tokens."""
    count = heads or _head_count(module)
    outputs: dict[str, Tensor] = {}

    def catch(role: str, projection: nn.Module, output: Tensor) -> None:
        caught.calls += role == "query"
        rows, size = _as_tokens(projection, output, count if names == NORMS else None)
        if rows.ndim not in (3, 4) or (rows.ndim == 3 and rows.shape[2] % count):
            caught.problem = (
                f"a submodule of {caught.path!r} gives {_shape(output)} as {role}; it must be a map B×C×h×w or tokens "
                f"B×N×C, with C a multiple of {count} heads"
            )
            return
        outputs[role] = _split_heads(rows, count) if rows.ndim == 3 else rows
        if role == "query":
            caught.size, caught._convolved = size, size is not None or isinstance(projection, nn.Conv1d)
        if len(outputs) == 2:
            caught._keep(outputs["query"], outputs["key"])
            outputs.clear()

    projections = [_module_at(module, name) for name in names]
    return [
        projection.register_forward_hook(lambda module, args, output, role=role: catch(role, module, output))
        for role, projection in zip(("query", "key"), projections, strict=True)
    ]


def _attach_class_probs(module: DenoisedNonLocal2d, caught: CaughtAttention) -> RemovableHandle:
    """GR's class distribution, and what the block does with it."""
    signature = inspect.signature(module.forward)

    def catch(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        given = signature.bind(*args, **kwargs).arguments
        if given.get("class_logits") is not None:
            with torch.no_grad():
                caught.class_probs = class_distribution(given["class_logits"], given["features"].shape[2:])

    caught.own = {"gate": module.gate, "lr_kernel": module.lr_kernel, "lr_weights": module.lr_weights}
    return module.register_forward_pre_hook(catch, with_kwargs=True)


# --- what a module says about itself ---------------------------------------------------------------------------------


def _named_pair(module: nn.Module) -> tuple[str, str] | None:
    children = dict(module.named_children())
    return next((pair for pair in PAIRS if pair[0] in children and pair[1] in children), None)


def _has_norms(module: nn.Module) -> bool:
    norms = [getattr(module, name, None) for name in NORMS]
    return all(isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity) for norm in norms)


def _head_count(module: nn.Module) -> int:
    counts = (getattr(module, name, None) for name in HEAD_COUNTS)
    return next((count for count in counts if isinstance(count, int) and count > 0), 1)


# --- shapes ----------------------------------------------------------------------------------------------------------


def _as_tokens(projection: nn.Module, output: Tensor, split_heads: int | None) -> tuple[Tensor, tuple[int, int] | None]:
    """Tokens B×N×C, and the (h, w) of the map that they were, if any.

    split_heads: with four axes the output is no map but tokens in this many heads already, which stay B×heads×N×d.
    """
    if output.ndim == 4 and split_heads:
        return (output if output.shape[1] == split_heads else output.transpose(1, 2)), None
    if output.ndim == 4:
        return output.flatten(2).transpose(1, 2), (output.shape[2], output.shape[3])
    if output.ndim == 3 and isinstance(projection, nn.Conv1d):
        return output.transpose(1, 2), None
    return output, None


def _split_heads(rows: Tensor, heads: int) -> Tensor:
    """B×N×C -> B×heads×N×(C / heads)."""
    return rows.unflatten(-1, (heads, -1)).transpose(1, 2)


def _square_hint(tokens: int) -> str:
    for extra in range(9):
        side = math.isqrt(max(0, tokens - extra))
        if side > 1 and side * side == tokens - extra:
            square = f"; {tokens} would be {side}×{side}"
            return square + (f" and class_tokens={extra}" if extra else "")
    return ""


def _joined(*names: str) -> str:
    return ".".join(filter(None, names))


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))
