"""A small map to find pixels on, and results of made-up students."""

import numpy as np

from analysis.exercise import CellFigures, Result, Subject, drawn_questions, seed_of
from analysis.geometry import Grid

SUBJECT = Subject("small", "a" * 64, "Street 1", "b" * 64)


def figures(*, gated: bool = True) -> CellFigures:
    """4×6 cells of two classes (the third row has no class) on an image of 40×60 pixels, with figures of their own."""
    labels = np.array([[0] * 6, [1] * 6, [255] * 6, [0] * 6])
    noise = np.linspace(0.0, 0.92, 24).reshape(4, 6)
    kept = 0.9 - 0.03 * np.arange(24.0).reshape(4, 6)
    return CellFigures(
        Grid((40, 60), (4, 6), "blocks"), ("Sky", "Road"), labels, noise, noise / 2, kept if gated else None
    )


def solved(
    name: str, code: str = "7b", *, wrong: tuple[str, ...] = (), known: CellFigures | None = None, **changed
) -> Result:
    """The result of a student who knows all but the questions that are `wrong`. known: `figures`, or others."""
    answers = {}
    for question in drawn_questions(seed_of(code, name), known or figures()):
        answers[question.name] = answer = right_answer(question)
        if question.name in wrong:
            answers[question.name] = wrong_answer(question, answer)
    seed = seed_of(code, name)
    result = {"saved": "2026-01-31T10:15:00Z", "subject": SUBJECT, "answers": answers, "seed": seed} | changed
    return Result(name=name, code=code, **result)


def right_answer(question):
    """The value rounded as a student would; the best choice; the middle of the first cell that is marked."""
    if hasattr(question, "value"):
        return round(question.value, 3)
    if hasattr(question, "choices"):
        return question.solution
    row, column = np.argwhere(question.cells)[0]
    return list(map(int, question.figures.grid.pixel_at(int(row), int(column))))


def wrong_answer(question, answer):
    if hasattr(question, "value"):
        return answer + 2 * question.tolerance
    if hasattr(question, "choices"):
        return next(choice for choice in question.choices if choice != answer)
    row, column = np.argwhere(~question.cells)[0]
    return list(map(int, question.figures.grid.pixel_at(int(row), int(column))))
