"""Is what `analysis.catch` shows of real models what these computed?

    make peers
    PYTHONPATH=.:tests .venv-peers/bin/python -m peers.conformance [--only REGEX] [--table FILE]

For each model of `peers.models` (small, random weights, constants shaken), each kind of attention module in it is
tried at its first and last place: the rows that are caught against those that multiplied the values
(`peers.truth`). Outcomes: exact (mean total variation at most 1e-4), refused (with which words), wrong, and no
truth (the oracle saw none to compare with, and something was shown). Ends with 1 if anything is wrong. (The package is
called `peers`, not `tests.peers`, since mmsegmentation installs a package `tests` of its own.)
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from importlib import metadata

import torch
from peers import models
from peers.truth import watching
from torch import nn

import analysis

EXACT = 1e-4
QUERIES = 24
WORDS = re.compile(r"(?i:attn|attention|non_?local|mhsa|xca|mixer)|PAM|CAM|MHA|EMAModule|ContextBlock|SABlock|PABBlock")


@dataclass
class Outcome:
    """word: exact, refused, wrong or no truth. distance: mean total variation. words: of the refusal."""

    model: str
    path: str
    module: str
    word: str
    distance: float | None = None
    words: str = ""


def shaken(model: nn.Module) -> nn.Module:
    """With noise on what starts constant, so that maps are neither flat nor free of their biases."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if not tensor.is_floating_point() or not tensor.numel():
                continue
            constant = float(tensor.max() - tensor.min()) < 1e-6
            scale = 0.3 if constant or re.search("pos|rel|bias_table|token|temperature|scale", name) else 0
            projects = tensor.ndim == 2 and re.search("qkv|query|key|q_proj|k_proj|in_proj|to_q|to_k", name)
            tensor.mul_(3.0 if projects else 1.0).add_(scale * torch.randn(tensor.shape, generator=noise))
    return model.eval()


def attention_modules(model: nn.Module, seen: set[str]) -> list[str]:
    """Paths of modules that look like attention and hold none that does; first and last of each class."""
    looks = [path for path, part in model.named_modules() if path in seen and WORDS.search(type(part).__name__)]
    inner = [path for path in looks if not any(other != path and other.startswith(f"{path}.") for other in looks)]
    chosen: dict[str, list[str]] = {}
    for path in inner:
        chosen.setdefault(type(model.get_submodule(path)).__name__, []).append(path)
    return [path for paths in chosen.values() for path in dict.fromkeys((paths[0], paths[-1]))]


def called(model: nn.Module, run) -> set[str]:
    paths, handles = set(), []
    for path, part in model.named_modules():
        handles.append(part.register_forward_hook(lambda *_, path=path: paths.add(path)))
    run(model)
    for handle in handles:
        handle.remove()
    return paths


def compare(name: str, model: nn.Module, run, path: str) -> Outcome:
    module = model.get_submodule(path)
    outcome = Outcome(name, path, type(module).__name__, "refused")
    with torch.no_grad():
        plain = run(model)
        try:
            with analysis.hook(model, path) as watched:
                seen = run(model)
            found = watched.attention(path, call=watched.calls)  # the last, as the oracle has it
        except ValueError as error:
            outcome.words = str(error)
            return outcome
    if not same(plain, seen):
        outcome.word, outcome.words = "wrong", "the output changed"
        return outcome
    with watching(module) as last:
        run(model)
    maps = [one for one in last().maps if one.numel() == torch.Size(found.weights.shape).numel()]
    if not maps:
        outcome.word = "no truth"
        return outcome
    groups, queries, keys = found.weights.shape
    truth = maps[-1].reshape(groups, queries, keys)
    some = torch.linspace(0, queries - 1, min(queries, QUERIES)).round().long()
    distances = []
    for group in {0, groups // 2, groups - 1}:
        rows = found.weights.rows(group, some)
        distances.append(float((rows - truth[group, some]).abs().sum(-1).mean() / 2))
    outcome.distance = max(distances)
    outcome.word = "exact" if outcome.distance <= EXACT else "wrong"
    return outcome


def same(one, other) -> bool:
    """Whether two outputs are the same to the bit."""
    pairs = zip(models.tensors(one), models.tensors(other), strict=True)
    return all(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", metavar="REGEX", help="models whose name matches")
    parser.add_argument("--table", metavar="FILE", help="write the table there, as Markdown")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models.prepare()
    outcomes = []
    for name, build, run in models.MODELS:
        if options.only and not re.search(options.only, name):
            continue
        began = time.perf_counter()
        torch.manual_seed(0)
        try:
            model = shaken(build())
            with torch.no_grad():
                paths = attention_modules(model, called(model, run))
        except Exception as error:  # whatever a library raises about options that it no longer takes
            print(f"{name:34}was not built: {type(error).__name__}: {' '.join(str(error).split())[:100]}", flush=True)
            continue
        for path in paths:
            outcomes.append(compare(name, model, run, path))
            one = outcomes[-1]
            distance = "" if one.distance is None else f"{one.distance:.0e}"
            print(f"{name:34}{path[-44:]:46}{one.module[:28]:30}{one.word:9}{distance:7}{one.words[:90]}", flush=True)
        if not paths:
            print(f"{name:34}no attention module was found ({time.perf_counter() - began:.1f} s)")
    counts = Counter(one.word for one in outcomes)
    print(len(outcomes), "modules:", ", ".join(f"{count} {word}" for word, count in counts.most_common()))
    if options.table:
        write_table(options.table, outcomes)
    return 1 if counts["wrong"] else 0


PAGE = """# Attention of other networks: what is seen, module by module

Written by `make peers`, which runs each attention module of these models, small and with random weights, at its first
and last place: the rows that `analysis.hook` caught against those that multiplied the values, seen from below by an
oracle that shares no code with `analysis` (`tests/peers`). Exact: their mean total variation is at most 1e-4. What is
no softmax over tokens is refused, and the words say what it is.

{versions}.

{counts}.

| model | module | class | outcome |
|---|---|---|---|
{rows}
"""
LIBRARIES = (
    "torch", "timm", "transformers", "torchvision", "vit-pytorch", "monai", "segmentation-models-pytorch",
    "diffusers", "open-clip-torch", "mmcv-lite", "mmsegmentation",
)  # fmt: skip


def write_table(path: str, outcomes: list[Outcome]) -> None:
    """One row for each class of a model: first and last place together where they came out the same."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for one in outcomes:
        words = one.words.replace(f"{one.path!r} ", "", 1)
        said = one.word + (f": {words}" if words else "")
        rows.setdefault((one.model, one.module, said), []).append(f"`{one.path}`")
    lines = [f"| {model} | {', '.join(paths)} | {module} | {said} |" for (model, module, said), paths in rows.items()]
    counts = Counter(one.word for one in outcomes)
    summary = ", ".join(f"{counts[word]} {word}" for word in ("exact", "refused", "no truth", "wrong"))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    page = PAGE.format(versions=versions, counts=f"{len(outcomes)} modules: {summary}", rows="\n".join(lines))
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


if __name__ == "__main__":
    sys.exit(main())
