"""A class's result files as one table: every answer is checked again, by the questions of its name and class code."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from analysis.exercise.cells import CellFigures
from analysis.exercise.questions import QUESTION_NAMES, Answer, PixelQuestion, drawn_questions, is_answered, seed_of
from analysis.exercise.results import ReadResult, Result, Subject, read_result
from analysis.files.tables import csv_text

ALTERED = "altered: the content hash does not fit"
LEAST_ALIKE = 3  # answers that two names must share before it is worth a word


class ClassRow(NamedTuple):
    """One result file. right: question -> whether its answer is right, None where it cannot be checked.

    score: how many are right, of `checked` questions. remarks: what is odd about it. counted: whether it is part of the
    class's shares: not an altered file, nor one beside a later one of the same name.
    """

    file: str
    result: Result
    fits: bool
    right: dict[str, bool | None]
    score: int
    checked: int
    remarks: tuple[str, ...]
    counted: bool


class ClassTable(NamedTuple):
    """rows: by name, then time. refused: file -> why it could not be read. shares: question -> share of the counted
    rows that have it right, 0 … 1; None where no row could be checked."""

    rows: tuple[ClassRow, ...]
    refused: tuple[tuple[str, str], ...]
    shares: dict[str, float | None]


def class_table(files: Sequence[tuple[str, bytes]], figures: CellFigures, subject: Subject) -> ClassTable:
    """The table of any number of result files, (name, content) each.

    figures, subject: of the model and picture that the class was given; answers about another one's pixels cannot be
    checked, and the row says so. Nothing that a file says of its own score or seed is believed.
    """
    read, refused = [], []
    for file, data in files:
        try:
            read.append((file, read_result(data)))
        except ValueError as error:
            refused.append((file, str(error)))
    read.sort(key=lambda entry: (_plain(entry[1].result.name), entry[1].result.saved))
    superseded, alike = _superseded(read), _alike(read)
    rows = []
    for number, (file, found) in enumerate(read):
        right = _checked(found.result, figures, subject)
        checked = [value for value in right.values() if value is not None]
        remarks = [*_remarks(found, subject, sum(checked), len(checked)), *superseded.get(number, ()), *alike[number]]
        counted = found.fits and number not in superseded
        rows.append(
            ClassRow(file, found.result, found.fits, right, sum(checked), len(checked), tuple(remarks), counted)
        )
    return ClassTable(tuple(rows), tuple(refused), {name: _share(rows, name) for name in QUESTION_NAMES})


def class_csv(table: ClassTable) -> str:
    """The table as CSV: a row for each file, and two columns for each question."""
    header = ["name", "class", "score", "of", "saved", "content_hash", "counted", "hints", "remarks", "file"]
    rows = [
        [
            row.result.name,
            row.result.code,
            row.score,
            row.checked,
            row.result.saved,
            "fits" if row.fits else "does not fit",
            "yes" if row.counted else "no",
            "; ".join(row.result.hints),
            "; ".join(row.remarks),
            row.file,
            *(value for name in QUESTION_NAMES for value in (_verdict(row.right[name]), answer_words(row, name))),
        ]
        for row in table.rows
    ]
    return csv_text([*header, *(f"{name}: {what}" for name in QUESTION_NAMES for what in ("right", "answer"))], rows)


def answer_words(row: ClassRow, name: str) -> str:
    """What was answered to a question, in words; empty for nothing."""
    answer = row.result.answers.get(name)
    if not is_answered(answer):
        return ""
    return ", ".join(map(str, answer)) if isinstance(answer, list) else str(answer)


def _verdict(right: bool | None) -> str:
    return "not checked" if right is None else "yes" if right else "no"


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _checked(result: Result, figures: CellFigures, subject: Subject) -> dict[str, bool | None]:
    asked = drawn_questions(seed_of(result.code, result.name), figures)
    same = _same_subject(result, subject)
    return {
        question.name: question.is_right(result.answers.get(question.name))
        if same or not isinstance(question, PixelQuestion)
        else None
        for question in asked
    }


def _same_subject(result: Result, subject: Subject) -> bool:
    own = result.subject
    return (own.model_sha256, own.picture_sha256) == (subject.model_sha256, subject.picture_sha256)


def _remarks(found: ReadResult, subject: Subject, score: int, checked: int) -> list[str]:
    result = found.result
    remarks = [] if found.fits else [ALTERED]
    if not _same_subject(result, subject):
        remarks.append(f"pixels not checked: asked of {result.subject.model} on {result.subject.picture}")
    if result.seed != seed_of(result.code, result.name):
        remarks.append("the questions were another name's or class's")
    if result.score is not None and checked == len(QUESTION_NAMES) and result.score != score:
        remarks.append(f"the file says {result.score} right")
    return remarks


def _superseded(read: Sequence[tuple[str, ReadResult]]) -> dict[int, tuple[str]]:
    """Files, sorted by name and time, in whose place another one counts; by their places, with what is to be said."""
    said: dict[int, tuple[str]] = {}
    first: dict[str, str] = {}
    for number, (file, found) in enumerate(read):
        later = [other for _, other in read[number + 1 :] if _plain(other.result.name) == _plain(found.result.name)]
        if found.content_hash in first:
            said[number] = (f"the same file as {first[found.content_hash]}",)
        elif any(other.fits and other.content_hash != found.content_hash for other in later):
            said[number] = ("an earlier file of this name",)
        first.setdefault(found.content_hash, file)
    return said


def _alike(read: Sequence[tuple[str, ReadResult]]) -> list[list[str]]:
    """For each file, whether another name has given the same answers, though the questions differ."""
    names: dict[tuple, dict[str, str]] = {}
    for _, found in read:
        names.setdefault(_answers_key(found.result.answers), {})[_plain(found.result.name)] = found.result.name
    said = []
    for _, found in read:
        key = _answers_key(found.result.answers)
        others = [name for plain, name in names[key].items() if plain != _plain(found.result.name)]
        said.append([f"the same answers as {', '.join(others)}"] if others and len(key) >= LEAST_ALIKE else [])
    return said


def _answers_key(answers: Mapping[str, Answer]) -> tuple:
    return tuple((name, repr(answers[name])) for name in QUESTION_NAMES if is_answered(answers.get(name)))


def _share(rows: Sequence[ClassRow], name: str) -> float | None:
    verdicts = [row.right[name] for row in rows if row.counted]
    counted = [right for right in verdicts if right is not None]
    return sum(counted) / len(counted) if counted else None
