"""An hour of the Lesson in a real browser: a student who knows nothing but the page, thirty files, and paper."""

import csv
import io
import json
import math
import re
from collections import Counter

import numpy as np
import pytest
from playwright.sync_api import expect

from analysis import capture_attention
from analysis.exercise import QUESTION_NAMES, Subject, cell_figures, result_file
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl import load_checkpoint
from dnl.datasets import Streets
from tests.analysis.exercise.small import solved
from tests.browser.widgets import downloaded

SECONDS = 60
LINK = "class=7b&model=untrained&image=street-2"
NUMBER = r"(-?\d+(?:\.\d+)?)"


@pytest.fixture(scope="module")
def street_capture(zoo):
    model, _ = load_checkpoint(zoo / "untrained.safetensors")
    street = Streets("gallery")[1]
    return capture_attention(model.eval(), street.image, labels=street.labels, name="Street 2")


@pytest.fixture
def tab(chromium):
    context = chromium.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(1000 * SECONDS)
    yield context.new_page()
    context.close()


def numbers(words: str, pattern: str) -> list[float]:
    """The numbers of a question at the marks # of a pattern."""
    found = re.search(pattern.replace("#", NUMBER), words)
    assert found, (pattern, words)
    return [float(number) for number in found.groups()]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def agreement(first: float, second: float, same: bool) -> float:
    """p·p of two distributions over three classes, so sure of one class or of two."""
    rest, other = (1 - first) / 2, (1 - second) / 2
    return first * second + 2 * rest * other if same else first * other + rest * second + rest * other


def softmax(words: str) -> float:
    *scores, temperature = numbers(words, "scores #, #, #; T = #")
    powers = [math.exp(score / temperature) for score in scores]
    return max(powers) / sum(powers)


def noise(words: str) -> float:
    own, same = numbers(words, "gives #% of its attention to itself, #% to")
    return 1 - same / (100 - own)


def gate(words: str) -> float:
    query, key = numbers(words, "road with #%, the key is .* with #%;")
    return sigmoid(agreement(query / 100, key / 100, "the key is road" in words))


def kept(words: str) -> str:
    astray, sure = (share / 100 for share in numbers(words, "has #% of its .* GR is #% sure"))
    same, other = agreement(sure, sure, True), agreement(sure, sure, False)
    masses = {
        "binary": 1 - astray,
        "similarity": (1 - astray) * same + astray * other,
        "sigmoid": (1 - astray) * sigmoid(same) + astray * sigmoid(other),
    }
    return max(masses, key=masses.get)


def cost(words: str) -> float:
    height, width, stride, _, channels = numbers(words, "of #×# pixels has one cell for #×# of them.* have # channels")
    return math.ceil(height / stride) * math.ceil(width / stride) / channels


def pixel(words: str, capture) -> tuple[int, int]:
    """Any pixel that answers, by the maps and the noise alone."""
    names = capture.label_set.class_names
    label = next(names.index(name) for name in names if f" {name} " in words)
    cells = np.flatnonzero(capture.cell_labels.ravel() == label)
    rows = attention_rows(capture, cells, gate="binary", lr_kernel=None)
    raw, gated = (
        query_metrics(stage, capture.cell_labels, cells, ignore_index=capture.ignore_index)
        for stage in (rows.raw, rows.rectified)
    )
    if "noise is above" in words:
        right = raw.interclass_noise > numbers(words, "noise is above #")[0]
    elif "noise is below" in words:
        right = raw.interclass_noise < numbers(words, "noise is below #")[0]
    elif "hollow" in words:
        right = raw.hollow_fraction > numbers(words, "fraction is above #")[0]
    elif "empties" in words:
        right = gated.emptied
    else:
        right = gated.kept_mass < numbers(words, "kept mass below #")[0]
    return capture.grid.pixel_at(*divmod(int(cells[right][0]), capture.width))


def question(page, number: int):
    return page.locator(f".st-key-exercise-question-{number}")


def judged(box, words: str) -> None:
    box.get_by_text(re.compile(f"^{re.escape(words)}")).wait_for()


def fill(box, place: int, value: float) -> None:
    field = box.locator("input[type=number]").nth(place)
    field.fill(f"{value:g}")
    field.press("Enter")


def test_the_lesson_is_done_by_who_knows_nothing_but_the_page(tab, app_url, street_capture, tmp_path):
    tab.goto(f"{app_url}/lesson?exercise=1&{LINK}")
    tab.get_by_label("Your name").fill("Ada Lovelace")
    tab.get_by_label("Your name").press("Enter")
    boxes = {number: question(tab, number) for number in range(1, 9)}
    boxes[8].locator("input[type=number]").first.wait_for()
    said = {number: box.inner_text() for number, box in boxes.items()}
    fill(boxes[1], 0, softmax(said[1]) + 0.1)
    judged(boxes[1], "Not yet")
    for number, solve in ((2, noise), (3, gate), (6, cost)):
        fill(boxes[number], 0, solve(said[number]))
        judged(boxes[number], "Right.")
    boxes[4].get_by_text(kept(said[4]), exact=True).click()
    judged(boxes[4], "Right.")
    for choice in range(3):
        boxes[5].get_by_text(re.compile(r"in a class, .* across$")).nth(choice).click()
        boxes[5].get_by_text(re.compile(r"^(Right\.|Not yet)")).first.wait_for()
        tab.wait_for_timeout(700)
        if boxes[5].get_by_text(re.compile(r"^Right\.")).count():
            break
    judged(boxes[5], "Right.")
    for number in (7, 8):
        y, x = pixel(said[number], street_capture)
        fill(boxes[number], 0, y)
        tab.wait_for_timeout(500)
        fill(boxes[number], 1, x)
        judged(boxes[number], "Right.")
    boxes[1].get_by_text("Hint").click()
    judged(boxes[1], "Divide each score")
    tab.get_by_text("7 of 8 right").wait_for()
    _, content = downloaded(tab, "Result file")
    (tmp_path / "ada.json").write_bytes(content)
    own = json.loads(content)
    assert (own["name"], own["score"], own["hints"]) == ("Ada Lovelace", 7, ["softmax"])

    known, subject = cell_figures(street_capture), Subject(**own["subject"])
    for n in range(29):
        result = solved(f"Student {n:02}", wrong=QUESTION_NAMES[: n % 9], known=known, subject=subject)
        (tmp_path / f"{n:02}.json").write_bytes(result_file(result))
    tab.goto(f"{app_url}/lesson?teacher=1&{LINK}")
    results = tab.get_by_test_id("stFileUploader").filter(has_text="result files")
    results.locator("input[type=file]").set_input_files(sorted(tmp_path.glob("*.json")))
    tab.get_by_text("30 of 30 files count").wait_for()
    _, content = downloaded(tab, "Table as CSV")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert len(rows) == 30 and all(row["content_hash"] == "fits" and row["of"] == "8" for row in rows)
    scores = {row["name"]: int(row["score"]) for row in rows}
    assert scores.pop("Ada Lovelace") == 7
    assert scores == {f"Student {n:02}": 8 - n % 9 for n in range(29)}
    assert Counter(row["softmax: right"] for row in rows) == {"yes": 4, "no": 26}


def test_the_lesson_on_paper(tab, app_url):
    """All of a step is printed, over several sheets, without what only a screen has."""
    tab.goto(f"{app_url}/lesson?step=6&{LINK}")
    tab.get_by_text("find a query whose noise is above chance").wait_for()
    tab.get_by_test_id("stSidebar").wait_for()
    tab.emulate_media(media="print")
    for part in ("stSidebar", "stHeader", "stToolbar"):
        expect(tab.get_by_test_id(part)).to_be_hidden(timeout=1000 * SECONDS)
    for words in ("Next", "Back"):
        assert tab.get_by_role("button", name=words, exact=True).count() == 0
    sheets = len(re.findall(rb"/Type\s*/Page\b", tab.pdf(format="A4")))
    assert 2 <= sheets <= 4
