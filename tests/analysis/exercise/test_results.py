import csv
import dataclasses
import io
import json

import pytest

from analysis.exercise import (
    QUESTION_NAMES,
    answer_words,
    class_csv,
    class_table,
    drawn_questions,
    read_result,
    result_file,
    score_of,
)
from tests.analysis.exercise.small import SUBJECT, figures, solved


def table_of(*results, **changed):
    files = [(f"{number}.json", result_file(result)) for number, result in enumerate(results)]
    return class_table(files, figures(), changed.get("subject", SUBJECT))


def test_a_result_survives_its_file():
    result = solved("Åsa Öberg", hints=("gate",), score=8)
    read = read_result(result_file(result))
    assert read.result == result and read.fits
    assert result_file(read.result) == result_file(result)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["answers"].update(softmax=0.1),
        lambda content: content.update(name="Somebody else"),
        lambda content: content.update(score=8),
        lambda content: content.update(more="than there was"),
        lambda content: content.pop("content_sha256"),
    ],
)
def test_a_changed_file_is_found_and_not_counted(change):
    content = json.loads(result_file(solved("Ada", score=7)))
    change(content)
    table = class_table([("ada.json", json.dumps(content).encode())], figures(), SUBJECT)
    (row,) = table.rows
    assert not row.fits and not row.counted and any("altered" in remark for remark in row.remarks)
    assert set(table.shares.values()) == {None}


def test_a_file_that_was_only_laid_out_anew_still_fits():
    content = json.loads(result_file(solved("Ada")))
    again = json.dumps(dict(reversed(content.items())), indent=7).encode()
    assert read_result(again).fits


def test_thirty_files_are_a_table_with_the_right_scores():
    """Student n has the first n % 9 questions wrong."""
    results = [solved(f"Student {n:02}", wrong=QUESTION_NAMES[: n % 9]) for n in range(30)]
    table = table_of(*results)
    assert [row.result.name for row in table.rows] == [f"Student {n:02}" for n in range(30)]
    for n, row in enumerate(table.rows):
        assert (row.score, row.checked) == (8 - n % 9, 8) and row.counted and row.remarks == ()
        assert row.right == {name: place >= n % 9 for place, name in enumerate(QUESTION_NAMES)}
        assert row.score == score_of(drawn_questions(row.result.seed, figures()), row.result.answers)
    # n % 9 is 0 for 0, 9, 18 and 27: these four alone have the first question right.
    assert table.shares["softmax"] == 4 / 30 and table.shares["second pixel"] == (30 - 3) / 30
    rows = list(csv.DictReader(io.StringIO(class_csv(table))))
    assert len(rows) == 30 and sum(int(row["score"]) for row in rows) == sum(8 - n % 9 for n in range(30))
    assert rows[1]["softmax: right"] == "no" and rows[1]["noise: right"] == "yes"


def test_what_is_not_answered_is_wrong():
    (row,) = table_of(solved("Ada", answers={"softmax": None})).rows
    assert row.score == 0 and set(row.right.values()) == {False} and answer_words(row, "softmax") == ""


def test_neither_score_nor_seed_of_a_file_is_believed():
    boast = solved("Ada", wrong=("gate",), score=8)
    other = dataclasses.replace(solved("Grace"), name="Ada", saved="2026-01-31T11:00:00Z")
    first, second = table_of(boast, other).rows
    assert first.score == 7 and "the file says 8 right" in first.remarks
    assert "the questions were another name's or class's" in second.remarks


def test_pixels_of_another_picture_are_not_checked():
    table = table_of(solved("Ada"), subject=SUBJECT._replace(picture_sha256="c" * 64))
    (row,) = table.rows
    assert (row.score, row.checked) == (6, 6) and row.right["noisy pixel"] is None
    assert "small on Street 1" in row.remarks[0] and table.shares["noisy pixel"] is None


def test_duplicates_are_noticed_and_the_latest_counts():
    early, late = (solved("Ada", saved=f"2026-01-31T10:{minute}:00Z") for minute in (10, 20))
    early = dataclasses.replace(early, name="ADA ", answers={})
    copied = dataclasses.replace(solved("Bob"), answers=late.answers)
    table = table_of(late, copied, early, late)
    assert [(row.result.name, row.counted) for row in table.rows] == [
        ("ADA ", False),
        ("Ada", True),
        ("Ada", False),
        ("Bob", True),
    ]
    said = [" ".join(row.remarks) for row in table.rows]
    assert "an earlier file" in said[0] and "the same answers as Bob" in said[1]
    assert "the same file as 0.json" in said[2] and "the same answers as Ada" in said[3]


def test_an_altered_file_does_not_take_the_place_of_a_good_one():
    content = json.loads(result_file(solved("Ada", saved="2026-01-31T12:00:00Z")))
    content["answers"] = {}
    files = [("good.json", result_file(solved("Ada"))), ("altered.json", json.dumps(content).encode())]
    assert [row.counted for row in class_table(files, figures(), SUBJECT).rows] == [True, False]


def hostile(**changed) -> bytes:
    return json.dumps(json.loads(result_file(solved("Ada"))) | changed).encode()


HOSTILE = {
    "empty": b"",
    "no JSON": b"\x89PNG\r\n",
    "nested": b"[" * 90_000,
    "huge": b" " * 200_000,
    "a list": b"[1, 2]",
    "another format": hostile(format="dnl figure"),
    "a later version": hostile(format_version=2),
    "no name": hostile(name="  "),
    "a long name": hostile(name="x" * 300),
    "a name of bytes": hostile(name="\ud800"),
    "a code of words": hostile(**{"class": "7 b"}),
    "a seed of text": hostile(seed="1"),
    "a negative seed": hostile(seed=-1),
    "a true seed": hostile(seed=True),
    "a day": hostile(saved="yesterday"),
    "no subject": hostile(subject=None),
    "half a subject": hostile(subject={"model": "small"}),
    "unknown answers": hostile(answers={"colour": 1}),
    "answers in lists": hostile(answers=[1]),
    "an endless answer": hostile(answers={"softmax": 10**400}),
    "a long answer": hostile(answers={"kept": "x" * 300}),
    "a nested answer": hostile(answers={"kept": {"a": 1}}),
    "three coordinates": hostile(answers={"noisy pixel": [1, 2, 3]}),
    "not a number": hostile(answers={"softmax": 0.5}).replace(b"0.5", b"NaN"),
    "a fraction of a score": hostile(score=3.5),
    "a score of thousands": hostile(score=9000),
    "hints in words": hostile(hints="gate"),
    "hints of lists": hostile(hints=[["gate"]]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_a_clause_and_the_others_stay(kind):
    table = class_table([("bad.json", HOSTILE[kind]), ("good.json", result_file(solved("Ada")))], figures(), SUBJECT)
    ((file, reason),) = table.refused
    assert file == "bad.json" and 10 < len(reason) < 300 and "\n" not in reason
    assert [row.score for row in table.rows] == [8]


def test_no_name_is_a_formula_in_a_spreadsheet():
    results = [solved("=HYPERLINK(1)"), solved('@SUM(1),"\r\n'), solved("Ada", answers={"kept": "+1+cmd"})]
    rows = list(csv.reader(io.StringIO(class_csv(table_of(*results)))))
    assert len(rows) == 4 and all(len(row) == len(rows[0]) for row in rows)
    texts = {cell for row in rows[1:] for cell in row}
    assert "'=HYPERLINK(1)" in texts and "'+1+cmd" in texts
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in texts)
