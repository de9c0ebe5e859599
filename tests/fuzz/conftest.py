"""Says at the end how many inputs were tried."""

from tests.fuzz.guard import COUNTS


def pytest_terminal_summary(terminalreporter):
    kinds = [kind for kind in COUNTS if not kind.endswith(" refused")]
    if kinds:
        terminalreporter.section("hostile inputs")
        for kind in kinds:
            terminalreporter.line(f"{kind}: {COUNTS[kind]} tried, {COUNTS[f'{kind} refused']} refused")
        terminalreporter.line(f"{sum(COUNTS[kind] for kind in kinds)} in all")
