"""A student's result file: JSON, with a hash over its content, and its reader, who believes none of it.

The hash finds accidents and casual edits. How it is made is public, so it is no protection against somebody who makes
a file anew.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from analysis.exercise.kinds import FileKind, read_content
from analysis.exercise.questions import QUESTION_NAMES, Answer, Question, is_answered
from dnl import __version__
from dnl.untrusted import is_name, shortened

MOST_BYTES = 100_000
RESULT = FileKind("result file of the lesson", "dnl lesson result", 1, MOST_BYTES)
MOST_ANSWER_LETTERS = 200
# Of a class: what a link can hold as it is. No code at all is as good.
CLASS_CODE = re.compile(r"[A-Za-z0-9-]{0,40}")
SAVED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
HASH = re.compile(r"[0-9a-f]{64}")


class Subject(NamedTuple):
    """What the questions about pixels were asked of: names and SHA-256 hashes (hexadecimal) of model and picture."""

    model: str
    model_sha256: str
    picture: str
    picture_sha256: str


@dataclass(frozen=True)
class Result:
    """One student's answers.

    name: as typed. code: the class's, or "". seed: of the questions. saved: when, UTC, as 2026-01-31T10:15:00Z.
    answers: question -> answer. hints: the questions whose hint was opened. withheld: whether the student was not told
    what is right. score: how many were right by the page that wrote it; None where that was withheld.
    """

    name: str
    code: str
    seed: int
    saved: str
    subject: Subject
    answers: Mapping[str, Answer]
    hints: Sequence[str] = ()
    withheld: bool = False
    score: int | None = None
    software: str = field(default=__version__)


class ReadResult(NamedTuple):
    """A result as a file holds it, the hash of its content, and whether the file names the same hash."""

    result: Result
    content_hash: str
    fits: bool


def score_of(asked: Sequence[Question], answers: Mapping[str, Answer]) -> int:
    """How many questions are answered rightly."""
    return sum(question.is_right(answers.get(question.name)) for question in asked)


def result_file(result: Result) -> bytes:
    """A result as a file, UTF-8 JSON with the hash of its content."""
    content = {
        "format": RESULT.format,
        "format_version": RESULT.version,
        "software": result.software,
        "name": result.name,
        "class": result.code,
        "seed": result.seed,
        "saved": result.saved,
        "subject": result.subject._asdict(),
        "answers": {name: answer for name, answer in result.answers.items() if is_answered(answer)},
        "hints": list(result.hints),
        "withheld": result.withheld,
        "score": result.score,
    }
    content["content_sha256"] = _content_hash(content)
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def read_result(data: bytes) -> ReadResult:
    """A result file of at most MOST_BYTES. Raises ValueError, a clause about the file, for anything else."""
    content = read_content(data, "answers", RESULT)
    subject = content.get("subject")
    if not isinstance(subject, dict):
        raise ValueError('holds no object "subject"')
    result = Result(
        name=_text(content, "name"),
        code=_matching(content, "class", CLASS_CODE),
        seed=_whole(content, "seed", 2**32 - 1),
        saved=_matching(content, "saved", SAVED),
        subject=Subject(**{name: _text(subject, name) for name in Subject._fields}),
        answers=_answers(content["answers"]),
        hints=_hints(content.get("hints")),
        withheld=_flag(content, "withheld"),
        score=None if content.get("score") is None else _whole(content, "score", len(QUESTION_NAMES)),
        software=_text(content, "software"),
    )
    content_hash = _content_hash(content)
    return ReadResult(result, content_hash, content.get("content_sha256") == content_hash)


def _content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256, hexadecimal, of all but the hash itself: JSON with sorted keys, no spaces, in UTF-8."""
    signed = {name: value for name, value in content.items() if name != "content_sha256"}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


# --- a stranger's values ---------------------------------------------------------------------------------------------


def _wrong(name: str, value: object, needed: str) -> ValueError:
    return ValueError(f'has "{name}" {shortened(value)}, and it must be {needed}')


def _text(content: Mapping, name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not is_name(value):
        raise _wrong(name, value, "a text of 1 to 200 letters")
    return value


def _matching(content: Mapping, name: str, pattern: re.Pattern) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _wrong(name, value, f"like {pattern.pattern}")
    return value


def _whole(content: Mapping, name: str, most: int) -> int:
    value = content.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise _wrong(name, value, f"a whole number, 0 … {most}")
    return value


def _flag(content: Mapping, name: str) -> bool:
    value = content.get(name)
    if type(value) is not bool:
        raise _wrong(name, value, "true or false")
    return value


def _hints(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(name in QUESTION_NAMES for name in value):
        raise _wrong("hints", value, f"a list of {', '.join(QUESTION_NAMES)}")
    return tuple(dict.fromkeys(value))


def _answers(answers: dict) -> dict[str, Answer]:
    for name, value in answers.items():
        if name not in QUESTION_NAMES:
            raise ValueError(f"answers {shortened(name)}, and the questions are {', '.join(QUESTION_NAMES)}")
        is_number = type(value) in (int, float) and abs(value) < 1e15
        is_choice = isinstance(value, str) and len(value) <= MOST_ANSWER_LETTERS
        is_pixel = isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value)
        if not (value is None or is_number or is_choice or is_pixel):
            raise _wrong(f"answers: {name}", value, "a number, a choice or a pixel [y, x]")
    return answers
