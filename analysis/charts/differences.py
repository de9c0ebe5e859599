"""Tested differences as tables of text: of stages, of checkpoints, and class by class."""

from collections.abc import Mapping

from analysis.words import METRIC_WORDS, difference_words, p_words


def difference_rows(differences: Mapping[str, Mapping], metrics: tuple[str, ...]) -> list[dict[str, str]]:
    """A row for each of the named differences and metrics: change with interval, p, effect."""
    return [
        {
            "difference": name.replace(" - ", " − "),
            "figure": METRIC_WORDS[metric],
            "change": difference_words(block),
            "p": _p(block["p"]),
            "effect": _effect(block["effect"]),
        }
        for name, blocks in differences.items()
        for metric in metrics
        if (block := blocks[metric])["mean"] is not None
    ]


def class_rows(differences: Mapping[str, Mapping], metric: str) -> list[dict[str, str]]:
    """A row for each of the named differences and classes; p is corrected for the number of classes."""
    return [
        {
            "difference": name.replace(" - ", " − "),
            "class": label,
            "change": difference_words(entry),
            "p (Holm)": _p(entry["p_holm"]),
            "effect": _effect(entry["effect"]),
            "images": f"{entry['images']:,}",
        }
        for name, blocks in differences.items()
        for label, entry in blocks[metric].get("per_class", {}).items()
    ]


def _p(p: float | None) -> str:
    return "–" if p is None else p_words(p).removeprefix("p ").removeprefix("= ")


def _effect(effect: float | None) -> str:
    return "–" if effect is None else f"{effect:+.2f}".replace("-", "−")
