"""The attention benchmark's results: JSON that keeps every figure, tables in Markdown, a plot."""

import json
import statistics
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.measure import PRODUCT_SIDE, PRODUCTS
from benchmarks.variants import DENSE, OURS, PUBLISHED, SDPA, STREAMED, operations
from dnl.files import write_atomically, write_json

SECTIONS = ("forward", "backward", "binary", "memory", "network", "app")
PRODUCT_OPERATIONS = 2 * PRODUCT_SIDE**3
# Both passes in terms of the forward's products; what the backward computes again counts for nothing.
BACKWARD_WORK = 3


def save(folder: Path, machine: dict, section: str, figures) -> None:
    """Put one section into the results of `folder` and lay the tables and the plot out anew."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "attention.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content |= {"machine": machine, section: figures}
    write_json(path, content)
    write_atomically(folder / "attention.md", lambda file: file.write_text(tables(content), encoding="utf-8"))
    if "forward" in content:
        figure = plot(content)
        write_atomically(folder / "attention.png", lambda file: figure.savefig(file, format="png", dpi=150))


def tables(content: dict) -> str:
    """All sections as Markdown."""
    facts = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
    parts = [f"# Cost of the attention\n\n{facts}"]
    memory = content.get("memory", {})
    parts += [_passes(entry, "Forward", 1, memory.get("forward")) for entry in content.get("forward", [])]
    parts += [
        _passes(entry, "Forward and backward", BACKWARD_WORK, memory.get("backward"))
        for entry in content.get("backward", [])
    ]
    if "forward" in content:
        parts.append(_growth(content))
    if "binary" in content:
        parts.append(_binary(content["binary"]))
    if "network" in content:
        cost = content["network"]
        parts.append(
            f"## Whole network\n\nResNet-101, width 64, {cost['height']}×{cost['width']} pixels: "
            f"{cost['seconds']:.1f} s, peak {cost['peak bytes'] / 1e9:.2f} GB"
        )
    if "app" in content:
        rows = [f"| {name} | {1000 * seconds:.1f} ms |" for name, seconds in content["app"].items()]
        parts.append("\n".join(["## The app's path, one built-in street\n", "| | time |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _passes(entry: dict, title: str, work: int, memory: list[dict] | None) -> str:
    cells, seconds = entry["cells"], entry["seconds"]
    extra = next((measured["bytes"] for measured in memory or [] if measured["cells"] == cells), {})
    fastest = min(seconds[name] for name in (DENSE, SDPA) if name in seconds) if DENSE in seconds else None
    peak = max(PRODUCT_OPERATIONS / seconds[name] for name in PRODUCTS)
    lines = [
        f"## {title}, N = {cells}\n",
        "| | time | of the fastest plain | GFLOP/s | of the peak | extra memory | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, value in seconds.items():
        if name in PRODUCTS:
            continue
        rate = work * operations(cells) / value
        difference = entry.get("difference", {}).get(name)
        lines.append(
            f"| {name} | {1000 * value:.1f} ms | {'–' if fastest is None else f'{value / fastest:.2f}×'} "
            f"| {rate / 1e9:.0f} | {rate / peak:.0%} "
            f"| {f'{extra[name] / 1e6:.0f} MB' if name in extra else '–'} "
            f"| {'–' if difference is None else f'{difference:.1e}'} |"
        )
    for name in PRODUCTS:
        lines.append(f"| matrix product, {name} | – | – | {PRODUCT_OPERATIONS / seconds[name] / 1e9:.0f} | – | – | – |")
    if PUBLISHED in seconds:
        ratio = f"The published formula takes {seconds[PUBLISHED] / seconds[OURS]:.1f}× the time"
        if extra.get(OURS, 0) > 1e6:  # less is lost in what the process had free
            ratio += f" and {extra[PUBLISHED] / extra[OURS]:.0f}× the extra memory"
        lines.append(
            f"\n{ratio} of `{OURS}`, which takes {seconds[OURS] / seconds[STREAMED]:.2f}× that of `{STREAMED}`."
        )
    if entry["left out"]:
        lines.append(f"\nNot run, since their maps do not fit the memory: {', '.join(entry['left out'])}.")
    return "\n".join(lines)


def _growth(content: dict) -> str:
    lines = [
        "## Growth of `denoised_attention`\n",
        "| N | time | over N² | extra memory | over N |",
        "|---|---|---|---|---|",
    ]
    memory = {entry["cells"]: entry["bytes"][OURS] for entry in content.get("memory", {}).get("forward", [])}
    for entry in content["forward"]:
        cells, seconds = entry["cells"], entry["seconds"][OURS]
        extra = f"{memory[cells] / 1e6:.0f} MB | {memory[cells] / cells / 1e3:.1f} kB" if cells in memory else "– | –"
        lines.append(f"| {cells} | {1000 * seconds:.0f} ms | {1e9 * seconds / cells**2:.2f} ns | {extra} |")
    return "\n".join(lines)


def _binary(figures: dict) -> str:
    layouts = figures["layouts"]
    ratios = [entry["seconds"]["binary"] / min(entry["seconds"][name] for name in (DENSE, SDPA)) for entry in layouts]
    share = statistics.mean(entry["class share"] for entry in layouts)
    return (
        f"## Binary gate, N = 8192, {len(layouts)} class layouts of {figures['dataset']}\n\n"
        f"Time over that of the fastest plain block: median {statistics.median(ratios):.2f}, largest "
        f"{max(ratios):.2f}. Mean Σ(n_c/N)² {share:.2f}."
    )


def plot(content: dict) -> Figure:
    """Time and extra memory of the forward pass over N."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    memory = content.get("memory", {}).get("forward", [])
    for name in (PUBLISHED, DENSE, SDPA, OURS):
        times = [(entry["cells"], entry["seconds"][name]) for entry in content["forward"] if name in entry["seconds"]]
        extra = [(entry["cells"], entry["bytes"][name] / 1e6) for entry in memory if name in entry["bytes"]]
        time_axes.plot(*zip(*times, strict=True), marker="o", label=name)
        if extra:
            memory_axes.plot(*zip(*extra, strict=True), marker="o", label=name)
    for axes, label in ((time_axes, "forward, seconds"), (memory_axes, "extra memory, MB")):
        axes.set(xscale="log", yscale="log", xlabel="cells N", ylabel=label)
        axes.grid(alpha=0.3)
    time_axes.legend(fontsize="small")
    return figure
