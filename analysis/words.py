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


# --- the lens's words ------------------------------------------------------------------------------------------------

# Stage -> its name and what it is, over its map; the same of the change that a stage brings.
LENS_STAGE_WORDS = {
    "raw": ("Raw", "softmax of q·k"),
    "rectified": ("Rectified", "raw × gate (GR)"),
    "retained": ("Retained", "neighbours gathered (LR)"),
}
LENS_DIFFERENCE_WORDS = {
    "raw": LENS_STAGE_WORDS["raw"],
    "rectified": ("Rectified − raw", "what GR changes"),
    "retained": ("Retained − rectified", "what LR changes"),
}
# What each choice does.
LENS_GATE_WORDS = {
    "off": "GR off: rectified equals raw.",
    "sigmoid": "σ(p·p), between 0.50 and 0.73: what the authors' code computes.",
    "binary": "1 where both cells have the same predicted class, else 0: what the paper's abstract says.",
    "similarity": "p·p, the probability that both cells share a class.",
    "oracle": "1 where the true labels agree: the best that any gate could do.",
}
LENS_RETENTION_WORDS = {
    "off": "LR off: retained equals rectified.",
    "learnt": "Each cell gathers its neighbours' attention with weights σ(q·k).",
    "box": "A constant box in place of the learnt weights: a control.",
}
LENS_DIRECTION_WORDS = {
    "row": "A row of the map: where this pixel looks.",
    "column": "A column of the map: who looks at this pixel.",
}
# Figure -> its name and what it means in rows, then in columns, where it has a meaning there.
LENS_FIGURE_WORDS: dict[str, tuple[str, ...]] = {
    "interclass_noise": (
        "interclass noise",
        "The share of the attention that falls on cells of other classes: 0 is none, 1 is all of it. Chance is what "
        "attention spread evenly over the image would get.",
        "from other classes",
        "The share of the attention that this pixel gets which comes from cells of other classes. Chance is the share "
        "if every cell gave alike.",
    ),
    "intraclass_noise": (
        "intraclass noise",
        "How unevenly the attention lies on the query's own class: 0 is evenly, 1 is all on one cell.",
    ),
    "hollow_fraction": (
        "hollow fraction",
        "The share of the class's cells that get less than a quarter of the class's mean attention.",
    ),
    "kept_mass": (
        "kept mass",
        "The row's total on labelled cells, the query's own left out. Raw rows sum to 1 with it; GR takes mass away, "
        "LR adds up neighbours and can raise it above 1.",
        "received",
        "The attention that this pixel gets from all other labelled cells together; each cell has 1 to give, so the "
        "average cell gets about 1 in the raw map.",
    ),
}
LENS_COLUMN_NOTE = "Noise is defined for rows, for where a pixel looks. Of who looks at it, two figures make sense."
