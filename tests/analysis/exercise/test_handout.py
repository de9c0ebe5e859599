import base64
import json

import numpy as np
import pytest

from analysis.exercise import LessonFile, lesson_file, own_picture, read_lesson_file
from dnl.classes import CAMVID, LabelSet

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
LABELS = np.random.default_rng(1).integers(0, CAMVID.num_classes, (40, 56))
LABELS[3] = CAMVID.ignore_index
LESSON = LessonFile({"step": "6", "gate": "binary"}, own_picture("our street.jpg", IMAGE, LABELS, CAMVID))


def test_a_lesson_survives_its_file():
    read = read_lesson_file(lesson_file(LESSON))
    assert read.choices == LESSON.choices and read.picture.name == "our street.jpg"
    assert np.array_equal(read.picture.image, IMAGE)
    assert np.array_equal(read.picture.labels_for(CAMVID), LABELS)
    assert read_lesson_file(lesson_file(LessonFile({"step": "2"}))) == LessonFile({"step": "2"}, None)


def test_labels_of_other_classes_are_left_out_and_no_labels_are_none():
    other = LabelSet("two", ("a", "b"), ((0, 0, 0), (255, 255, 255)), 255)
    assert read_lesson_file(lesson_file(LESSON)).picture.labels_for(other) is None
    bare = LessonFile({}, own_picture("bare", IMAGE, None, CAMVID))
    assert read_lesson_file(lesson_file(bare)).picture.labels_for(CAMVID) is None


def hostile(**changed) -> bytes:
    content = json.loads(lesson_file(LESSON))
    picture = changed.pop("picture", {})
    changed["picture"] = content["picture"] | picture if isinstance(picture, dict) else picture
    return json.dumps(content | changed).encode()


HOSTILE = {
    "empty": b"",
    "huge": b" " * (12 * 2**20 + 1),
    "another format": hostile(format="dnl lesson result"),
    "a later version": hostile(format_version=9),
    "choices in a list": hostile(choices=["step"]),
    "a number for a choice": hostile(choices={"step": 6}),
    "a long choice": hostile(choices={"step": "6" * 2000}),
    "many choices": hostile(choices={str(number): "" for number in range(200)}),
    "a picture in words": hostile(picture="street"),
    "no name": hostile(picture={"name": None}),
    "no photo": hostile(picture={"photo": None}),
    "no Base64": hostile(picture={"photo": "§§§"}),
    "no picture": hostile(picture={"photo": base64.b64encode(b"GIF89a").decode()}),
    "labels of nothing": hostile(picture={"class_names": []}),
    "labels of numbers": hostile(picture={"class_names": [1, 2]}),
    "labels that are no Base64": hostile(picture={"labels": 7}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_lesson_files_are_refused_in_a_clause(kind):
    with pytest.raises(ValueError) as refused:
        lesson = read_lesson_file(HOSTILE[kind])
        lesson.picture.labels_for(CAMVID)
    assert 10 < len(str(refused.value)) < 300
