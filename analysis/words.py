"""A noise summary in sentences: what the figures of `analysis.measure.data_set_summary` say; the stages' colours."""

from collections.abc import Mapping

# The same in every chart: told apart by colour-blind readers, and readable on light and dark.
STAGE_COLOURS = {
    "raw": "#d1711f",
    "rectified": "#3b82c4",
    "retained": "#2a9d74",
    "uniform": "#8b929b",
    "oracle": "#a86fc4",
    "box": "#b3972f",
}
# Changes smaller than this, in percentage points, are called none.
LEAST_CHANGE = 0.5
STEPS = {"rectified": ("raw", "GR"), "retained": ("rectified", "LR")}


def headline(summary: dict) -> str:
    """Two or three sentences: raw interclass noise against chance, what GR and LR change of it, and the hollows."""
    raw = _figures(summary, "raw", "interclass_noise")
    if raw.get("mean") is None:
        return (
            "There is no interclass noise to measure here: it takes queries with labelled cells of their own class and "
            "of another one."
        )
    times = f", {raw['times_chance']:.2f} × chance" if raw.get("times_chance") is not None else ""
    start = f"Raw attention puts {_percent(raw['mean'])} of its mass on other classes{times}"
    steps = [_step(summary, stage, "interclass_noise") for stage in STEPS]
    words = f"{start}; {'; '.join(filter(None, steps))}." if any(steps) else f"{start}."
    hollow = _figures(summary, "raw", "hollow_fraction").get("mean")
    if hollow is not None:
        ends = [
            f"{_percent(value)} {after}"
            for stage, after in (("rectified", "after GR"), ("retained", "after LR"))
            if (value := _figures(summary, stage, "hollow_fraction").get("mean")) is not None
        ]
        then = f", {' and '.join(ends)}" if ends else ""
        words += f" {_percent(hollow)} of a query's own class are hollows in the raw map{then}."
    return words


def _step(summary: dict, stage: str, metric: str) -> str:
    """What one step does to a metric: "GR takes 19 points away (to 37 %)"."""
    before, name = STEPS[stage]
    earlier, later = (_figures(summary, at, metric).get("mean") for at in (before, stage))
    if earlier is None or later is None:
        return ""
    points = 100 * (later - earlier)
    if abs(points) < LEAST_CHANGE:
        return f"{name} leaves it as it is"
    change = f"{abs(points):.0f} {'point' if round(abs(points)) == 1 else 'points'}"
    return f"{name} {'takes' if points < 0 else 'adds'} {change}{' away' if points < 0 else ''} (to {_percent(later)})"


def _figures(summary: dict, stage: str, metric: str) -> Mapping:
    return summary["stages"].get(stage, {}).get(metric, {})


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
