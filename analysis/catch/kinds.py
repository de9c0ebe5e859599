"""Which attention of a call is the one to show, and in words what the others are."""

from __future__ import annotations

import re
import types

import torch
from torch import nn

from analysis.catch.attentions import LOCAL, Attention, Call

# They hold modules, and are not called themselves.
CONTAINERS = (nn.ModuleList, nn.ModuleDict)
# How modules that compute attention are called, in their path or class.
ATTENTION_WORDS = re.compile(r"att(n|ention)|non_?local|mhsa|token_mixer|xca", re.IGNORECASE)


def one_attention(call: Call, index: int | None) -> Attention:
    """The attention of a call, number `index` if there are several. Raises ValueError, in one sentence, without one."""
    path = call.path or type(call.module).__name__
    if not call.attentions:
        raise ValueError(f"{path!r} {without_attention(call)}")
    candidates = [one for one in call.attentions if one.has_queries]
    # Without queries, a product that is multiplied again is linear attention, and others are parts of it.
    candidates = candidates or [one for one in call.attentions if one.multiplied_again][:1] or call.attentions
    # What competes for tokens (slots, cluster means) and is compared with them again is a step towards the last map.
    candidates = [one for one in candidates if not one.is_step] or candidates
    if index is None and len(candidates) > 1:
        alike = len({one.shape for one in candidates}) == 1
        kind = " (heads in a loop, or maps that are added or subtracted)" if alike else ""
        raise ValueError(
            f"{path!r} runs {len(candidates)} attentions in one call{kind}, and what it passes on is made of all of "
            f"them: {'; '.join(f'{number}: {summary(one)}' for number, one in enumerate(candidates))}; choose with "
            "index=…"
        )
    if index is not None and not 0 <= index < len(candidates):
        raise ValueError(f"index is {index}, but {path!r} ran the attentions 0 … {len(candidates) - 1}")
    return candidates[index or 0]


def problem_of(attention: Attention) -> str | None:
    """Why this attention cannot be shown, to follow the module's path; None if it can."""
    if attention.problem is not None:
        return attention.problem
    if not attention.has_queries and attention.multiplied_again:
        return (
            "is linear attention: a softmax over its keys alone, whose product with the values is multiplied with the "
            "queries afterwards, so that no map of queries over keys exists"
        )
    if attention.error is not None and not attention.error <= attention.allowed:
        return (
            f"passed on something else than its softmax times its values (off by {attention.error:.1g} of their "
            "largest), so its rows would not be what the model used"
        )
    return None


def without_attention(call: Call) -> str:
    """What a call did that ran no softmax over tokens, to follow the module's path."""
    scripted = [
        name or "itself" for name, part in call.module.named_modules() if isinstance(part, torch.jit.ScriptModule)
    ]
    if scripted:
        return f"is scripted or traced ({scripted[0]}), so its operations cannot be seen; give the module before that"
    functions = [] if call.from_scores else _scripted_functions(call.module)
    if functions:
        return (
            f"calls what torch.jit.script made of a function ({', '.join(functions)}), whose operations cannot be "
            "seen; call the function itself in its place"
        )
    if call.softmaxes and any(softmax.scores is not None for softmax in call.softmaxes):
        return (
            "ran a softmax over products of its activations, but multiplied no values with it (or other maps alone) by "
            "a matrix product that is seen (matmul, bmm, einsum of two tensors); write it as one of these"
        )
    if call.softmaxes and call.unfolded:
        return LOCAL
    if call.softmaxes:
        axes = "deformable, local or gating weights" if len(call.softmaxes) == 1 else "several such weights"
        return (
            f"has a softmax that no product of queries and keys went into and that is multiplied with no values by a "
            f"matrix product ({axes}): it is no softmax over tokens"
        )
    if call.from_scores:
        training = any(part.training for part in call.module.modules())
        dropping = "; if dropout is what changes the sums, call model.eval()" if training else ""
        return (
            "multiplies the products of queries and keys with the values without a softmax, in rows that do not sum to "
            "1 (dot-product attention divided by the number of cells, linear attention, or weights that are divided by "
            f"their sum after that product), so that there is no softmax over tokens to show{dropping}"
        )
    if call.unweighted:
        return (
            "multiplies values with weights that no softmax made (concatenation or another form), so that there is no "
            "softmax over tokens to show"
        )
    return "ran no softmax and no fused attention, so there is no softmax over tokens to show"


def _scripted_functions(module: nn.Module) -> list[str]:
    """Names of the scripted functions that the methods of a module and its parts use, or its attributes hold."""
    held: dict[str, object] = {}
    for part in module.modules():
        held |= vars(part)
        for kind in type(part).__mro__:
            for method in vars(kind).values():
                if isinstance(method, types.FunctionType):
                    held |= {name: method.__globals__.get(name) for name in method.__code__.co_names}
    return sorted(name for name, value in held.items() if isinstance(value, torch.jit.ScriptFunction))


def summary(attention: Attention) -> str:
    """One attention in a few words."""
    size = "×".join(map(str, attention.shape))
    words = attention.form if attention.has_queries else f"{attention.form} without queries"
    return f"{words} {size}" if size else words


def not_called(model: nn.Module, path: str, is_used: bool) -> str:
    """Why the module at `path` was not seen. is_used: whether its weights took part all the same."""
    parts = dict(model.named_modules())
    if isinstance(parts[path], torch.jit.ScriptModule) or isinstance(model, torch.jit.ScriptModule):
        return (
            f"{path!r} is scripted or traced, so its operations cannot be seen; load or build the model without "
            "torch.jit and watch that"
        )
    above = [path.rsplit(".", count)[0] if count <= path.count(".") else "" for count in range(1, path.count(".") + 2)]
    script = next((name for name in above if isinstance(parts[name], torch.jit.ScriptModule)), None)
    if script is not None:
        return (
            f"{path!r} is part of the scripted or traced {script!r}, so it is not called; build that without torch.jit"
        )
    parent = next((name for name in above if not isinstance(parts[name], CONTAINERS)), "")
    around = repr(parent) if parent else "the model around it"
    if is_used or isinstance(parts[parent], nn.MultiheadAttention):
        return (
            f"{path!r} was not called: its weights are used by {around} without calling it, so that it computes "
            "nothing itself; watch what uses them"
        )
    return (
        f"{path!r} was not called while it was hooked, so nothing was caught; run the model inside the `with` block, "
        "and check that this module takes part in that run"
    )


def inside(model: nn.Module, path: str, most: int = 3) -> str:
    """Modules in the one at `path`, or else beside it, that may compute attention, to follow a sentence; "" if none."""
    if ATTENTION_WORDS.search(path.rpartition(".")[2]):
        return ""
    for around in (path, path.rpartition(".")[0]):
        named = [name for name, _ in model.named_modules() if name.startswith(f"{around}." if around else "")]
        found: list[str] = []
        for name in named:
            if ATTENTION_WORDS.search(name.rpartition(".")[2]) and not any(name.startswith(f"{one}.") for one in found):
                found.append(name)
        if found:
            return f"; attention may be in {', '.join(map(repr, found[:most]))}{' …' if len(found) > most else ''}"
    return ""
