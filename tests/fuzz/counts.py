"""How many hostile inputs were tried, by their kind, and how many of these were refused ("KIND refused")."""

from collections import Counter

COUNTS: Counter[str] = Counter()


def report(terminalreporter) -> None:
    """Say it at the end of the tests."""
    kinds = [kind for kind in COUNTS if not kind.endswith(" refused")]
    if kinds:
        terminalreporter.section("hostile inputs")
        for kind in kinds:
            terminalreporter.line(f"{kind}: {COUNTS[kind]} tried, {COUNTS[f'{kind} refused']} refused")
        terminalreporter.line(f"{sum(COUNTS[kind] for kind in kinds)} in all")
