"""What the figures mean: names, colours and definitions of stages and metrics, and a noise summary in sentences.

The definitions are this project's own. Each place that explains them has room for another length: a tile, a table's
heading, a page's pop-over, a report.
"""

from collections.abc import Mapping

# --- names and colours -----------------------------------------------------------------------------------------------

STAGE_WORDS = {
    "raw": "raw",
    "rectified": "rectified (GR)",
    "retained": "retained (LR)",
    "uniform": "uniform attention",
    "oracle": "oracle gate",
    "box": "constant box",
}
# What is said where one of these stages would stand and there is none.
LACKING_WORDS = {"rectified": "no GR", "retained": "no LR"}
METRIC_WORDS = {
    "interclass_noise": "interclass noise",
    "intraclass_noise": "intraclass noise",
    "hollow_fraction": "hollow fraction",
    "kept_mass": "kept mass",
    "interclass_mass": "mass on other classes",
    "top_mass": "mass on the strongest key",
    "effective_keys": "effective keys",
    "auc": "AUC",
    "average_precision": "average precision",
}
SPLIT_WORDS = {
    "boundary": "at a class boundary",
    "interior": "inside a class",
    "gr_right": "GR has the class right",
    "gr_wrong": "GR has it wrong",
}
GATE_WORDS = {
    "sigmoid": "sigmoid (the release)",
    "similarity": "similarity (soft)",
    "binary": "binary (the abstract)",
}
# The same in every chart: told apart by colour-blind readers, and readable on light and dark.
STAGE_COLOURS = {
    "raw": "#d1711f",
    "rectified": "#3b82c4",
    "retained": "#2a9d74",
    "uniform": "#8b929b",
    "oracle": "#a86fc4",
    "box": "#b3972f",
}

# --- definitions -----------------------------------------------------------------------------------------------------

# Markdown, of the pages' pop-overs; MORE is the Noise report's.
DEFINITIONS = """
Attention is compared on *labelled cells*, the query's own cell left out. These definitions are this project's own.

- **interclass noise** (0 … 1, low is good): the share of the attention that falls on cells of other classes.
- **chance**: what attention spread evenly over the image would get; **× chance** is the noise over it. Below 1, the
  attention knows the class; at 1, it does not.
- **intraclass noise** (0 … 1, low is good): how unevenly the attention lies on the query's own class. 0 is evenly, 1
  is all on one cell.
- **hollow fraction** (0 … 1, low is good): the share of the class's cells that get less than a quarter of the class's
  mean attention.
- **kept mass**: the row's total. Raw rows sum to 1 with the query's own cell; GR only takes away; LR adds up
  neighbours and can raise it above 1. Below 10⁻⁶ the row is *emptied*: it has no noise to measure.
- **effective keys**: over how many cells the attention is spread, the exponential of its entropy.
"""
MORE_DEFINITIONS = """
- **leakage matrix**: where the attention of each class goes; each row sums to 1.
- **intervals** (95 %): they hold the true mean in 95 of 100 samples. Images of one drive or folder are not taken as
  independent, and too few images have none; the line under the headline says what the intervals speak of.
- **controls**: *uniform attention* gets chance by construction; the *oracle gate* knows the true labels, the best any
  GR could do; the *constant box* stands in place of LR's learnt weights. A stage that does no better than its control
  has not earned its credit.
- **AUC, average precision** (high is good): how well a row's attention picks the query's own class out.
"""
METRIC_NOTES = {
    "interclass_noise": "Attention on other classes; dash: chance.",
    "intraclass_noise": "How unevenly the own class is lit.",
    "hollow_fraction": "How much of the own class is left dark.",
}
# Figure -> its name on a tile, and what it means.
TILE_DEFINITIONS = {
    "interclass_noise": (
        "interclass noise",
        "Share of the attention that falls on cells of other classes; 0 … 1, low is good. This project's own "
        "definition.",
    ),
    "chance": ("chance", "The interclass noise of attention that is spread evenly over all other cells."),
    "intraclass_noise": (
        "intraclass noise",
        "1 − entropy of the attention within the own class, over its greatest possible value: 0 is evenly spread, 1 "
        "is all on one cell. This project's own definition.",
    ),
    "hollow_fraction": (
        "hollow fraction",
        "Share of the own class's cells that get less than a quarter of the class's mean attention. This project's "
        "own definition.",
    ),
    "kept_mass": (
        "kept mass",
        "The row's total without the query's own cell. Raw rows sum to 1 with it; LR can raise it above 1.",
    ),
    "effective_keys": (
        "effective keys",
        "Over how many cells the attention is spread: the exponential of its entropy.",
    ),
}
# Of each figure of a pinned pixel: its heading in a table, and what it means.
PIN_WORDS = {
    "interclass_noise": ("interclass noise", "Share of the attention on cells of other classes; low is good."),
    "chance": ("chance", "The interclass noise of attention spread evenly over the image."),
    "times_chance": ("× chance", "Interclass noise over chance: below 1, the attention knows the class."),
    "intraclass_noise": ("intraclass noise", "How unevenly the attention lies on the own class; low is good."),
    "hollow_fraction": (
        "hollow fraction",
        "Share of the class's cells with under a quarter of its mean attention; low is good.",
    ),
    "kept_mass": (
        "kept mass",
        "The row's total without the own cell: what GR leaves of it; LR adds up neighbours and can raise it above 1.",
    ),
    "effective_keys": ("effective keys", "Over how many cells the attention is spread."),
}
# In the caption of a figure.
NOISE_SENTENCE = (
    "Under each map: interclass noise λ, the share of the attention on cells of other classes, and λ over chance, "
    "what evenly spread attention would get."
)
# The report's.
OWN_DEFINITIONS = (
    "The figures follow this project's own definitions: the published method names interclass and intraclass noise in "
    "words and gives no formula for them."
)
PREDICTION_WARNING = (
    "The labels are the model's own prediction, not ground truth. A prediction measured against itself is flattered: "
    "every figure below is better than it would be against true labels."
)
LEARNT_WARNING = (
    "The network has learnt from these very images: the figures flatter it, and say little of those it has not seen."
)
CONTROL_WORDS = {
    "uniform": "uniform attention: every cell gets the same; what chance gets.",
    "oracle": "retained attention under the oracle gate: true labels in place of GR's class prediction, the best that "
    "any GR could do.",
    "box": "retained attention with a constant box in place of LR's learnt weights, under the model's own gate.",
}
SPLIT_DEFINITIONS = {
    "boundary": "cells with a neighbour of another label",
    "interior": "cells without one",
    "gr_right": "cells whose class GR's prediction has right",
    "gr_wrong": "cells whose class it has wrong",
}
REPORT_DEFINITIONS = {
    "Stages": "raw: the softmax attention. rectified: after the gate of Global Rectifying (GR). retained: after Local "
    "Retention (LR), which spreads each row over neighbouring cells.",
    "Query, cell, label": "The attention map has one cell for a patch of pixels; each labelled cell is a query. Its "
    "label is the most frequent one among its pixels. S are the other cells of the query's class, D the labelled cells "
    "of other classes.",
    "Interclass noise": "The share of a query's attention that falls on D. 0 is best. Chance is what uniform attention "
    "gets: |D| / |S ∪ D|.",
    "Intraclass noise": "How unevenly the attention on S is spread: one minus its entropy over that of an even spread. "
    "0 is even, 1 is a single cell.",
    "Hollow fraction": "The share of S that gets less than τ = 0.25 of the mean attention on S.",
    "Kept mass, interclass mass": "The sum of a row over S ∪ D, and over D, before any normalisation: what really "
    "arrives. Rows that keep less than a millionth are emptied: counted, never averaged.",
    "Top-1 mass, effective keys": "The share of the strongest key; the exponential of the row's entropy, as if so many "
    "keys shared the attention evenly.",
    "AUC, average precision": "How well the attention of a row tells S from D. 1 is best; AUC 0.5 is chance.",
    "Means": "Over a class's queries in each image in which it has enough cells, over images, over classes: so that "
    "large classes do not drown small ones. The micro mean is over all queries alike.",
    "Intervals": "95 %: of a hundred samples like this one, about 95 have intervals that hold the true mean. Images of "
    "one group (a drive, a city, a folder) resemble each other and are not taken as independent: from ten groups on "
    "the groups are, below that blocks of neighbouring images within each group. Where nothing says which images "
    "belong together, each is taken as independent. Differences are paired by image.",
    "p, effect": "p: how often flipping the signs of paired differences at random (of images, groups or blocks of "
    "neighbouring images, whichever are independent) gives a mean as far from 0 as the one found; small where chance "
    "alone rarely would. Of classes it is corrected by Holm's method for their number. Effect: the mean of the images' "
    "differences in units of their standard deviation.",
    "Query dependence, distinct argmax keys": "Mean Jensen–Shannon divergence between the raw rows of random pairs of "
    "queries: 0 where every query gets the same map. How many cells of an image are the strongest key of some query.",
}

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
    "off": "No GR: there is no rectified map.",
    "sigmoid": "σ(p·p), between 0.50 and 0.73: what the authors' code computes.",
    "binary": "1 where both cells have the same predicted class, else 0: what the paper's abstract says.",
    "similarity": "p·p, the probability that both cells share a class.",
    "oracle": "1 where the true labels agree: the best that any gate could do.",
}
LENS_RETENTION_WORDS = {
    "off": "No LR: there is no retained map.",
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
        METRIC_WORDS["interclass_noise"],
        "The share of the attention that falls on cells of other classes: 0 is none, 1 is all of it. Chance is what "
        "attention spread evenly over the image would get.",
        "from other classes",
        "The share of the attention that this pixel gets which comes from cells of other classes. Chance is the share "
        "if every cell gave alike.",
    ),
    "intraclass_noise": (
        METRIC_WORDS["intraclass_noise"],
        "How unevenly the attention lies on the query's own class: 0 is evenly, 1 is all on one cell.",
    ),
    "hollow_fraction": (
        METRIC_WORDS["hollow_fraction"],
        "The share of the class's cells that get less than a quarter of the class's mean attention.",
    ),
    "kept_mass": (
        METRIC_WORDS["kept_mass"],
        "The row's total on labelled cells, the query's own left out. Raw rows sum to 1 with it; GR takes mass away, "
        "LR adds up neighbours and can raise it above 1.",
        "received",
        "The attention that this pixel gets from all other labelled cells together; each cell has 1 to give, so the "
        "average cell gets about 1 in the raw map.",
    ),
}
# Of keys that are other cells than the queries. Figures: in place of those above.
LENS_OTHER_KEYS_REASON = (
    "GR and LR's learnt weights compare a query's cell with a key's; here the keys are other cells than the queries."
)
LENS_OTHER_KEYS_FIGURE_WORDS: dict[str, tuple[str, ...]] = {
    "kept_mass": (
        METRIC_WORDS["kept_mass"],
        "The row's total on labelled cells. Raw rows sum to 1 with the unlabelled ones; LR adds up neighbours and can "
        "raise it above 1.",
        "received",
        "The attention that this cell gets from all labelled queries together; each has 1 to give, to all the keys.",
    ),
}
# Of queries without a place on the image, such as object queries.
LENS_UNPLACED_WORDS = {
    "photo": "The queries have no place on the image: choose one from the list.",
    "choose": "Choose a query from the list: the queries have no place on the image.",
    "hint": "Choose a query from the list below; Pin keeps it.",
    "column": "Who looks at a pixel is drawn where the queries lie, and these have no place.",
    "brush": "The queries have no place that could be painted over.",
    "noClass": "What it looks for is not known, so it has no figures, only maps.",
}
# How a sentence about a share of a query's attention ends.
LENS_DROPPED_WORDS = "goes to tokens that are no cells, such as class tokens, and is not in the maps."
LENS_COLUMN_NOTE = "Noise is defined for rows, for where a pixel looks. Of who looks at it, two figures make sense."

# --- a summary in sentences ------------------------------------------------------------------------------------------

# Changes smaller than this, in percentage points, are called none.
LEAST_CHANGE = 0.5
MOST_NAMED_GROUPS = 4
# A p-value up to which a difference counts as found, and the least one that is written out.
SIGNIFICANT, LEAST_SHOWN_P = 0.05, 0.001
# Stage -> the stages before it, the last first, and what makes it of the last one that there is.
STEPS = {"rectified": (("raw",), "GR"), "retained": (("rectified", "raw"), "LR")}


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


def interval_sentences(summary: Mapping) -> str:
    """How the intervals of a summary were made, and what they speak of; or why there are none."""
    facts, groups = summary["intervals"], list(summary["groups"])
    if facts["method"] in (None, "none"):
        return f"No intervals ({facts['reason']})."
    blocks = f" of about {facts['block_length']:.0f} images" if facts["block_length"] else ""
    made = f"{_percent(facts['level'])} intervals by {facts['method']}{blocks}."
    if not groups:
        return f"{made} They take each image as independent, since nothing says which are of one scene."
    worth = f"The {facts['images']} images of {_group_words(groups)} tell as much as about "
    worth += f"{facts['effective_images']:.0f} independent ones."
    of_these = facts["block_length"] or facts["groups"] == 1
    alone = " alone, not of others" if of_these else ""
    return f"{made} {worth} The intervals speak of {facts['speaks_of']}{alone}."


def difference_words(entry: Mapping) -> str:
    """A difference with its interval: "−0.120 (−0.150 … −0.090)"."""
    numbers = [f"{entry[name]:+.3f}".replace("-", "−") for name in ("mean", "low", "high") if entry[name] is not None]
    numbers = [number if number.strip("+−0.") else "0.000" for number in numbers]
    return numbers[0] if len(numbers) == 1 else f"{numbers[0]} ({numbers[1]} … {numbers[2]})"


def p_words(p: float) -> str:
    """ "p = 0.031", "p < 0.001"."""
    return f"p = {p:.3f}" if p >= LEAST_SHOWN_P else f"p < {LEAST_SHOWN_P}"


def conclusion(metric: str, block: Mapping) -> str:
    """What a reader may conclude from a tested difference of a metric, an entry of "differences" in a summary."""
    name = METRIC_WORDS[metric]
    if block["mean"] is None:
        return f"No class has enough images for a difference in {name}."
    if block["p"] is None:
        return f"No test of {name} ({block['reason']})."
    if block["least_p"] > SIGNIFICANT:
        return f"Nothing can be concluded of {name}: {block['test']} allow no p below {block['least_p']:.2g}."
    found, alone = block["p"] <= SIGNIFICANT, " alone, not of others" if block["speaks_of"].startswith("th") else ""
    if found:
        size = abs(block["mean"])
        size_words = f"{size:.3f}" if size >= 0.0005 else f"{size:.1g}"
        changed = f"{'lower' if block['mean'] < 0 else 'higher'} by {size_words}"
        sentence = f"{name.capitalize()} is {changed}, more than chance would often show ({p_words(block['p'])}); "
        sentence += f"that speaks of {block['speaks_of']}{alone}."
    else:
        sentence = f"No difference in {name} can be told from chance ({p_words(block['p'])}); there may be one still."
    if block["low"] is not None and found == (block["low"] <= 0 <= block["high"]):
        sentence += f" The interval {'holds' if found else 'leaves out'} 0 all the same: a borderline case."
    return sentence


def _group_words(groups: list[str]) -> str:
    """ "one group (0016E5)", "2 groups (a, b)", "20 groups"."""
    number = "one group" if len(groups) == 1 else f"{len(groups)} groups"
    return f"{number} ({', '.join(groups)})" if len(groups) <= MOST_NAMED_GROUPS else number


def _step(summary: dict, stage: str, metric: str) -> str:
    """What one step does to a metric: "GR takes 19 points away (to 37 %)"."""
    stages, name = STEPS[stage]
    before = next(each for each in stages if each in summary["stages"])
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
