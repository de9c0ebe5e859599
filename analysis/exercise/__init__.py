"""The lesson's exercise: questions drawn by a seed, checked by their own numbers, and the files of a class.

A lesson file brings an own photo to the class, a result file brings one student's answers back, and a table holds the
results of all. Nothing here keeps anything.
"""

from analysis.exercise.cells import CellFigures, cell_figures
from analysis.exercise.handout import LessonFile, OwnPicture, lesson_file, own_picture, read_lesson_file
from analysis.exercise.questions import (
    QUESTION_NAMES,
    Answer,
    ChoiceQuestion,
    NumberQuestion,
    PixelQuestion,
    Question,
    drawn_questions,
    is_answered,
    seed_of,
)
from analysis.exercise.results import CLASS_CODE, Result, Subject, read_result, result_file, score_of
from analysis.exercise.table import ClassRow, ClassTable, answer_words, class_csv, class_table

__all__ = [
    "CLASS_CODE",
    "QUESTION_NAMES",
    "Answer",
    "CellFigures",
    "ChoiceQuestion",
    "ClassRow",
    "ClassTable",
    "LessonFile",
    "NumberQuestion",
    "OwnPicture",
    "PixelQuestion",
    "Question",
    "Result",
    "Subject",
    "answer_words",
    "cell_figures",
    "class_csv",
    "class_table",
    "drawn_questions",
    "is_answered",
    "lesson_file",
    "own_picture",
    "read_lesson_file",
    "read_result",
    "result_file",
    "score_of",
    "seed_of",
]
