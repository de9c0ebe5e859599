"""Captions for the paper: what a figure's columns, colours and numbers are, and what it was made of."""

from collections.abc import Mapping, Sequence

import dnl
from analysis.capture import Capture, attention_name
from analysis.figures.look import Look
from analysis.figures.panels import Subject, attention_words, columns_there, numbered_classes, stage_words
from analysis.figures.recipe import DIFFERENCES, PICTURES, Attention, AttentionImage, Recipe, Scale, recipe_hash
from analysis.options import STAGES
from analysis.words import NOISE_SENTENCE

# What CITATION.cff says, too: a test holds the two together.
BIBTEX = f"""@software{{denoised_nl,
  title = {{Denoised NL: training, attention maps and attention noise of Denoised Non-local networks}},
  author = {{{{Denoised NL contributors}}}},
  year = {{2026}},
  version = {{{dnl.__version__}}},
  license = {{MIT}}
}}

@article{{song2023denoised,
  title = {{Denoised Non-Local Neural Network for Semantic Segmentation}},
  author = {{Song, Qi and Li, Jie and Guo, Hao and Huang, Rui}},
  journal = {{IEEE Transactions on Neural Networks and Learning Systems}},
  year = {{2023}},
  eprint = {{2110.14200}},
  archiveprefix = {{arXiv}},
  url = {{https://arxiv.org/abs/2110.14200}}
}}
"""


def caption_text(recipe: Recipe, captures: Sequence[Capture], hashes: Mapping[str, str]) -> str:
    """A caption for the paper: what the columns, colours and figures are, and what the figure was made of."""
    captures = [capture for capture, *_ in recipe.by_row(captures)]
    subjects = [Subject(capture, row.pixel) for capture, row in zip(captures, recipe.rows, strict=True)]
    files = dict.fromkeys(row.image.path for row in recipe.rows if isinstance(row.image, AttentionImage))
    names = [*(checkpoint.name for checkpoint in recipe.checkpoints), *files]
    made = ", ".join(f"{name} ({hashes[name][:12]})" for name in names)
    kinds = [*["checkpoint"] * bool(recipe.checkpoints), *["attention file"] * bool(files)]
    sentences = [
        f"Attention of {len(recipe.rows)} pixel{'s' * (len(recipe.rows) > 1)} in {_names(captures)}.",
        *map_sentences(
            [(capture, recipe.attention_of(row)) for capture, row in zip(captures, recipe.rows, strict=True)],
            recipe.all_columns,
            recipe.scale,
            noise=recipe.look.noise_figures,
        ),
        *_row_sentences(recipe, captures),
        *class_sentences(subjects, recipe.columns, recipe.look),
        f"{' and '.join(kinds).capitalize()} {made}, recipe {recipe_hash(recipe)[:12]}, denoised-nl {dnl.__version__}.",
    ]
    return " ".join(sentences)


def _row_sentences(recipe: Recipe, captures: Sequence[Capture]) -> list[str]:
    """In what the rows differ, and what of their images is shown."""
    found = []
    heads = [attention_name(capture) for capture in captures]
    if len(set(heads)) > 1:
        words = [f"{number} {name}" for number, name in enumerate(heads, start=1) if name]
        found.append(f"Heads of the rows: {'; '.join(words)}." if not recipe.heads else _layer_words(captures))
    if len({recipe.attention_of(row) for row in recipe.rows}) > 1:
        words = [
            f"{number} {attention_words(capture, recipe.attention_of(row))}"
            for number, (capture, row) in enumerate(zip(captures, recipe.rows, strict=True), start=1)
        ]
        found.append(f"Rows: {'; '.join(words)}.")
    if any(row.inset for row in recipe.rows):
        found.append("Framed parts are enlarged beneath.")
    return found


def _layer_words(captures: Sequence[Capture]) -> str:
    names = [f"{number} {capture.layer}" for number, capture in enumerate(captures, start=1) if capture.layer]
    return f"Layers of the rows: {'; '.join(names)}."


def map_sentences(
    rows: Sequence[tuple[Capture, Attention]], columns: Sequence[str], scale: Scale, *, noise: bool
) -> list[str]:
    """What the maps of a figure's rows, their colours and the figures under them are; noise: whether it has those."""
    words, columns = stage_words(rows), columns_there(columns, rows)
    stages = [f"{stage} ({words[stage]})" if stage in words else stage for stage in STAGES if stage in columns]
    stages += [f"{name} (softmax)" for name in columns if name not in {*PICTURES, *STAGES, *DIFFERENCES}]
    changes = [name.replace("-", " − ") for name in columns if name in DIFFERENCES]
    sentences = [f"Maps: {', '.join(stages)}."] if stages else []
    if changes:
        sentences.append(f"Differences: {', '.join(changes)}.")
    if stages or changes:
        sentences.append(SCALE_SENTENCES[scale.kind])
        if scale.from_lowest and scale.kind != "log" and stages:
            sentences.append("Scales of the maps begin at their lowest value, not at 0.")
        if scale.clip_percentile < 100:
            sentences.append(f"Scales end at the {scale.clip_percentile:g}th percentile of the values.")
    if noise and (stages or changes):
        sentences.append(NOISE_SENTENCE)
        if any(capture.labels is None for capture, _ in rows):
            sentences.append("Images without labels are measured against the model's own prediction.")
    for temperature in sorted({attention.temperature for _, attention in rows} - {1.0}):
        sentences.append(f"Softmax temperature {temperature:g}.")
    return sentences


def class_sentences(subjects: Sequence[Subject], columns: Sequence[str], look: Look) -> list[str]:
    """A sentence that names the classes that the figure has to number, if there are any."""
    numbered = numbered_classes(subjects, columns, look)
    names = ", ".join(f"{number} {name}" for number, name in numbered.items())
    return [f"Numbers stand for names that the fonts of the figure lack: {names}."] if numbered else []


def _names(captures: Sequence[Capture]) -> str:
    return ", ".join(dict.fromkeys(capture.name for capture in captures))


SCALE_SENTENCES = {
    "uniform": "Colours: each map over its own sum, in multiples of an even spread over the image.",
    "log": "Colours: each map over its own sum, in multiples of an even spread over the image, logarithmic.",
    "shared": "Colours: attention weights on one scale.",
    "map": "Colours: attention weights, each map on its own scale.",
}
