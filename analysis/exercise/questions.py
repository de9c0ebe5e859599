"""The exercise's questions. A seed draws each one's numbers; what is right is computed by the functions that the lesson
shows and the noise report measures with, never written down.

An answer is what a file can hold: a number, one of the choices, or a pixel [y, x]; None stands for no answer.
"""

import hashlib
import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np

from analysis import lesson
from analysis.exercise.cells import CellFigures
from analysis.noise import EMPTIED

Answer = float | str | Sequence[int] | None
GATES = ("sigmoid", "similarity", "binary")
LEAST_CELLS = 3  # that answer a question about a pixel
# Share of a class's cells that answer one, and what is asked for is a multiple of STEP.
WANTED_SHARE, STEP = 0.08, 0.05
CLEAR = 0.03  # by which the best choice has to lead


@dataclass(frozen=True)
class Question(ABC):
    """A question: its name in files, the lesson's step that answers it (from 1), and words and hint in Markdown."""

    name: str
    step: int
    words: str
    hint: str

    @abstractmethod
    def is_right(self, answer: Answer) -> bool:
        """Whether an answer is right."""


@dataclass(frozen=True)
class NumberQuestion(Question):
    """A number to compute: right within `tolerance` of `value`, both in the unit that the words name."""

    value: float
    tolerance: float

    def is_right(self, answer: Answer) -> bool:
        """Whether an answer is a number close enough."""
        if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
            return False
        return abs(answer - self.value) <= self.tolerance * (1 + 1e-9)

    @property
    def solution(self) -> str:
        """The value in words, rounded to a tenth of the tolerance."""
        digits = max(0, math.ceil(-math.log10(self.tolerance)) + 1)
        return f"{self.value:.{digits}f}"


@dataclass(frozen=True)
class ChoiceQuestion(Question):
    """One of `choices`: the one with the highest of `values` (one each)."""

    choices: tuple[str, ...]
    values: tuple[float, ...]

    def is_right(self, answer: Answer) -> bool:
        """Whether an answer is the best choice."""
        return answer == self.solution

    @property
    def solution(self) -> str:
        """The best choice."""
        return self.choices[self.values.index(max(self.values))]


@dataclass(frozen=True, eq=False)
class PixelQuestion(Question):
    """A pixel of a class to find: right where its cell is marked in `cells`, bool in the shape of the capture's map."""

    class_name: str
    figures: CellFigures
    cells: np.ndarray

    def is_right(self, answer: Answer) -> bool:
        """Whether an answer is a pixel [y, x] of the image in such a cell."""
        if not isinstance(answer, Sequence) or len(answer) != 2 or not all(type(side) is int for side in answer):
            return False
        y, x = map(int, answer)
        try:
            row, column = self.figures.grid.cell_at(y, x)
        except ValueError:  # off the image
            return False
        return bool(self.cells[row, column])

    @property
    def solution(self) -> str:
        """One such pixel in words, the first in reading order, and how many cells answer."""
        row, column = np.argwhere(self.cells)[0]
        y, x = self.figures.grid.pixel_at(int(row), int(column))
        return f"{y}, {x} ({int(self.cells.sum())} cells)"


def is_answered(answer: Answer) -> bool:
    """Whether there is an answer at all."""
    return answer is not None and answer != ""


def seed_of(code: str, name: str) -> int:
    """The seed of a student's questions, 0 … 2³² − 1: of the class's code and the name, however cased and spaced."""
    plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return int.from_bytes(hashlib.sha256(f"{code}\n{plain}".encode()).digest()[:4])


def drawn_questions(seed: int, figures: CellFigures) -> tuple[Question, ...]:
    """The exercise of a seed on one capture, QUESTION_NAMES in this order.

    Raises ValueError where the capture has no cells that a question could ask for.
    """
    draw = {name: Random(f"{seed} {name}") for name in QUESTION_NAMES}
    scores = draw["softmax"].sample((-2, -1, 0, 1, 2, 3), 3)
    own, same = draw["noise"].choice((10, 20, 30)), draw["noise"].choice((20, 25, 35, 40))
    leading, least = draw["gate"].sample((0.5, 0.6, 0.7, 0.8, 0.9), 2)
    return (
        softmax_question(scores, draw["softmax"].choice((0.5, 2))),
        noise_question(own / 100, same / 100),
        gate_question(leading, least, same_class=draw["gate"].random() < 0.5),
        kept_question(*draw["kept"].choice(_clear_gates())),
        _draw_retention(draw["retention"]),
        cost_question(
            draw["cost"].choice(IMAGE_SIZES), draw["cost"].choice((8, 16)), draw["cost"].choice((64, 128, 256, 512))
        ),
        noisy_pixel_question(figures, *_draw_pixel(draw["noisy pixel"], figures, figures.noise)),
        _second_pixel(draw["second pixel"], figures),
    )


QUESTION_NAMES = ("softmax", "noise", "gate", "kept", "retention", "cost", "noisy pixel", "second pixel")


# --- 1 to 5: on a tiny grid ------------------------------------------------------------------------------------------


def softmax_question(scores: Sequence[float], temperature: float) -> NumberQuestion:
    """What the strongest of a few cells gets, from their scores and the softmax's temperature (above 0)."""
    row = lesson.softmax_row(np.array([scores], float), temperature)
    return NumberQuestion(
        "softmax",
        1,
        f"An image has {len(scores)} cells, with which a query has the scores {_listed(scores)}; T = {temperature:g}. "
        "Which share of the attention does the strongest cell get? (0 … 1, within 0.01)",
        "Divide each score by T, take e to the power of each, and divide the largest by the sum of all.",
        float(row.max()),
        0.01,
    )


def noise_question(own: float, same: float) -> NumberQuestion:
    """The interclass noise of a row that gives `own` to the query itself, `same` to its class, the rest to others."""
    other = 1 - own - same
    row = (1 - own) * lesson.noisy_row(other / (same + other), 0.0)
    row[lesson.QUERY] = own
    noise = lesson.row_figures(row)["interclass_noise"]
    assert noise is not None  # the tiny street has cells of the class and others
    return NumberQuestion(
        "noise",
        2,
        f"A road cell gives {own:.0%} of its attention to itself, {same:.0%} to other road cells and {other:.0%} to "
        "cells of other classes. What is its interclass noise? (0 … 1, within 0.01)",
        "The query's own cell takes no part: the row is first divided by what lies on all the other cells.",
        noise,
        0.01,
    )


def gate_question(query_sure: float, key_sure: float, *, same_class: bool) -> NumberQuestion:
    """The sigmoid gate of two cells, so sure of their classes, one or two of three; the rest is shared evenly."""
    key_class = lesson.ROAD if same_class else lesson.TREE
    query, key = (
        lesson.class_distribution(np.array([[label]]), sure)[:, :, 0]
        for label, sure in ((lesson.ROAD, query_sure), (key_class, key_sure))
    )
    return NumberQuestion(
        "gate",
        3,
        f"There are three classes. The query is road with {query_sure:.0%}, the key is {lesson.CLASS_NAMES[key_class]} "
        f"with {key_sure:.0%}; in each, the other two classes share the rest evenly. What is the sigmoid gate between "
        "them? (0 … 1, within 0.005)",
        "Multiply the two distributions class by class and add up: that is p·p. The gate is 1 / (1 + e^(−p·p)).",
        float(lesson.gates_of(query, key)["sigmoid"][0]),
        0.005,
    )


def kept_question(astray: float, sure: float) -> ChoiceQuestion:
    """Which gate leaves a row of the tiny street the most mass: `astray` of it lies on others, GR is so sure."""
    return ChoiceQuestion(
        "kept",
        3,
        f"A row of the tiny street has {astray:.0%} of its attention on other classes; GR is {sure:.0%} sure of every "
        "cell, and right. Which gate leaves the row the most mass?",
        "Set both sliders of the step's second tab, and compare the column “kept mass”.",
        GATES,
        _kept_masses(astray, sure),
    )


def retention_question(weights: Sequence[tuple[int, int]]) -> ChoiceQuestion:
    """Which q·k of neighbours (within a class, across two classes) leave the least interclass noise after LR, 3×3."""
    return ChoiceQuestion(
        "retention",
        4,
        "LR fills the hollow of the tiny street, in a window of 3×3. With which q·k between neighbours is the "
        "interclass noise lowest afterwards?",
        "Set both sliders of the step, and read the interclass noise below the maps.",
        tuple(f"{same:+d} in a class, {other:+d} across" for same, other in weights),
        tuple(-_noise_after_retention(same, other) for same, other in weights),
    )


def cost_question(size: tuple[int, int], stride: int, channels: int) -> NumberQuestion:
    """How many times fewer multiplications LR takes once folded: image H×W, pixels per cell, channels of the values."""
    cells = math.ceil(size[0] / stride) * math.ceil(size[1] / stride)
    spent = lesson.retention_cost(cells, channels=channels)
    factor = spent.unfolded_multiplications / spent.folded_multiplications
    return NumberQuestion(
        "cost",
        5,
        f"An image of {size[0]}×{size[1]} pixels has one cell for {stride}×{stride} of them, and the values have "
        f"{channels} channels. How many times fewer multiplications does LR take when it is folded into the values? "
        "(within 1 %)",
        "On the map LR takes k²·N·N multiplications, folded k²·N·C.",
        factor,
        0.01 * factor,
    )


IMAGE_SIZES = ((256, 512), (360, 480), (512, 512), (512, 1024))


@cache
def _clear_gates() -> tuple[tuple[float, float], ...]:
    """Shares astray and certainties of `kept_question` for which one gate leads clearly."""
    pairs = [(astray / 10, sure / 10) for astray in range(1, 8) for sure in range(4, 10)]
    return tuple(pair for pair in pairs if _leads(_kept_masses(*pair)))


def _kept_masses(astray: float, sure: float) -> tuple[float, ...]:
    raw = lesson.noisy_row(astray, 0.0)
    return tuple(float(lesson.rectified_row(raw, gate, sure).sum()) for gate in GATES)


def _draw_retention(draw: Random) -> ChoiceQuestion:
    while True:
        question = retention_question([(draw.randint(-4, 4), draw.randint(-4, 4)) for _ in range(3)])
        if len(set(question.choices)) == 3 and _leads(question.values):
            return question


@cache
def _noise_after_retention(same: int, other: int) -> float:
    row = lesson.retained_row(lesson.hollow_row(), same_score=same, other_score=other).row
    noise = lesson.row_figures(row)["interclass_noise"]
    assert noise is not None  # the row has mass on the road
    return noise


def _leads(values: Sequence[float]) -> bool:
    """Whether the highest value stands CLEAR of the others."""
    *_, second, first = sorted(values)
    return first - second > CLEAR


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


# --- 6: on a capture -------------------------------------------------------------------------------------------------


def noisy_pixel_question(figures: CellFigures, label: int, threshold: float) -> PixelQuestion:
    """A pixel of a class with raw interclass noise above a threshold, 0 … 1."""
    return PixelQuestion(
        "noisy pixel",
        6,
        f"Find a pixel of this class whose **raw** interclass noise is above {threshold:.2f}.",
        "Look where the class meets another one, or where it is thin: a cell there shows some of both.",
        figures.class_names[label],
        figures,
        _cells_above(figures, figures.noise, label, threshold),
    )


def cut_pixel_question(figures: CellFigures, label: int, threshold: float) -> PixelQuestion:
    """A pixel of a class whose row the binary gate empties; where too few are, one whose kept mass it leaves below
    1 − threshold, 0 … 1."""
    assert figures.kept is not None
    emptied = figures.kept < EMPTIED
    cells = emptied & (figures.labels == label)
    what = "empties the row"
    if cells.sum() < LEAST_CELLS:
        cells = _cells_above(figures, 1 - figures.kept, label, threshold)
        what = f"leaves a kept mass below {1 - threshold:.2f}"
    return PixelQuestion(
        "second pixel",
        6,
        f"Find a pixel of this class where the **binary** gate {what}.",
        "The binary gate keeps the cells of the class that the network itself takes the query for. Choose the gate "
        "*binary*, and look where its guess may be wrong.",
        figures.class_names[label],
        figures,
        cells,
    )


def hollow_pixel_question(figures: CellFigures, label: int, threshold: float) -> PixelQuestion:
    """A pixel of a class whose raw row leaves more than a threshold of its class hollow, 0 … 1."""
    return PixelQuestion(
        "second pixel",
        6,
        f"Find a pixel of this class whose **raw** hollow fraction is above {threshold:.2f}.",
        "A hollow is a cell of the class that gets next to nothing: look for a row that lies on few cells.",
        figures.class_names[label],
        figures,
        _cells_above(figures, figures.hollow, label, threshold),
    )


def quiet_pixel_question(figures: CellFigures, label: int, threshold: float) -> PixelQuestion:
    """A pixel of a class with raw interclass noise below 1 − threshold, 0 … 1."""
    return PixelQuestion(
        "second pixel",
        6,
        f"Find a pixel of this class whose **raw** interclass noise is below {1 - threshold:.2f}.",
        "Look inside of large, even parts of the class.",
        figures.class_names[label],
        figures,
        _cells_above(figures, 1 - figures.noise, label, threshold),
    )


def _second_pixel(draw: Random, figures: CellFigures) -> PixelQuestion:
    """About the binary gate; where that takes nothing, about hollows; where there are none, about little noise."""
    kinds = (
        (cut_pixel_question, None if figures.kept is None else 1 - figures.kept),
        (hollow_pixel_question, figures.hollow),
    )
    for ask, values in kinds:
        if values is not None and _askable(figures, values):
            return ask(figures, *_draw_pixel(draw, figures, values))
    return quiet_pixel_question(figures, *_draw_pixel(draw, figures, 1 - figures.noise))


def _draw_pixel(draw: Random, figures: CellFigures, values: np.ndarray) -> tuple[int, float]:
    """A class, and a threshold that about WANTED_SHARE of its cells exceed, and LEAST_CELLS at least."""
    askable = _askable(figures, values)
    if not askable:
        raise ValueError("no class of this picture has cells that a question could ask for; choose another picture")
    return draw.choice(askable)


def _askable(figures: CellFigures, values: np.ndarray) -> list[tuple[int, float]]:
    """The classes, each with its threshold, of which a question on `values` (h×w) can be asked."""
    found = []
    for label in range(len(figures.class_names)):
        own = values[figures.labels == label]
        own = np.sort(own[np.isfinite(own)])[::-1]
        if len(own) >= LEAST_CELLS:
            highest = own[max(LEAST_CELLS, round(WANTED_SHARE * len(own))) - 1]
            threshold = round(STEP * (math.ceil(highest / STEP - 1e-6) - 1), 2)
            if threshold >= STEP:
                found.append((label, threshold))
    return found


def _cells_above(figures: CellFigures, values: np.ndarray, label: int, threshold: float) -> np.ndarray:
    return (figures.labels == label) & (np.nan_to_num(values, nan=-1.0) > threshold)
