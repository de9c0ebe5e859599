import math

import numpy as np
import pytest

from analysis.capture import Capture
from analysis.exercise import QUESTION_NAMES, cell_figures, drawn_questions, is_answered, seed_of
from analysis.exercise.questions import (
    cost_question,
    cut_pixel_question,
    gate_question,
    hollow_pixel_question,
    kept_question,
    noise_question,
    noisy_pixel_question,
    retention_question,
    softmax_question,
)
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import LabelSet
from tests.analysis.exercise.small import figures, right_answer, wrong_answer


@pytest.mark.parametrize(
    ("question", "value"),
    [
        (softmax_question((0, 1, 2), 1), 0.6652),  # e² / (1 + e + e²)
        (softmax_question((2, 0, 1), 0.5), 0.8668),  # e⁴ / (1 + e² + e⁴)
        (noise_question(0.2, 0.4), 0.5),  # half of the 80 % that are not on the query
        (noise_question(0.1, 0.36), 0.6),
        (gate_question(0.8, 0.8, same_class=True), 0.6593),  # σ(0.64 + 0.01 + 0.01)
        (gate_question(0.8, 0.8, same_class=False), 0.5424),  # σ(0.08 + 0.08 + 0.01)
        (cost_question((360, 480), 8, 256), 10.547),  # 45·60 / 256
        (cost_question((250, 500), 16, 64), 8.0),  # 16·32 / 64, cells at the border are whole ones
    ],
)
def test_a_number_is_the_one_on_paper_and_right_within_its_tolerance(question, value):
    assert question.value == pytest.approx(value, abs=6e-4)
    assert question.is_right(value) and question.is_right(question.value + question.tolerance)
    assert not question.is_right(question.value + 1.01 * question.tolerance)
    for nothing in (None, "", str(value), True, math.nan, math.inf, [value]):
        assert not question.is_right(nothing)
    assert float(question.solution) == pytest.approx(question.value, abs=question.tolerance / 10)


def test_the_gate_that_keeps_the_most_depends_on_the_row():
    hardly_astray, mostly_astray = kept_question(0.1, 0.8), kept_question(0.6, 0.8)
    assert (hardly_astray.solution, mostly_astray.solution) == ("binary", "sigmoid")
    assert hardly_astray.values[2] == pytest.approx(0.9)  # the binary gate takes what lies on other classes
    assert hardly_astray.is_right("binary") and not hardly_astray.is_right("similarity")
    assert not hardly_astray.is_right(None)


def test_lr_leaks_least_where_classes_match_least():
    question = retention_question([(0, 0), (4, -4), (-2, 3)])
    assert question.is_right("+4 in a class, -4 across") and not question.is_right("+0 in a class, +0 across")


def test_pixels_are_right_by_their_cell_s_class_and_figure():
    known = figures()  # noise 0, 0.04, 0.08 … row by row, cells of 10×10 pixels
    question = noisy_pixel_question(known, 0, 0.8)
    assert np.flatnonzero(question.cells).tolist() == [21, 22, 23] and question.class_name == "Sky"
    assert question.is_right([39, 30]) and question.is_right([30, 59])
    assert not question.is_right([39, 29])  # noise 0.80, which is not above
    assert not question.is_right([29, 59]) and not question.is_right([15, 59])  # no class, and another
    for nothing in (None, "30, 59", [40, 0], [-1, 59], [30.0, 59.0], [True, 59], [30], {"y": 30}, 3):
        assert not question.is_right(nothing)
    assert question.solution == "35, 35 (3 cells)"
    assert hollow_pixel_question(known, 1, 0.2).cells.sum() == 1  # noise / 2: 0.22 in cell 11


def test_the_binary_gate_s_pixel_is_an_emptied_one_where_there_are_some():
    known = figures()
    cut = cut_pixel_question(known, 1, 0.4)
    assert np.flatnonzero(cut.cells).tolist() == [11] and "below 0.60" in cut.words  # kept 0.9 − 0.03·11 = 0.57
    kept = known.kept.copy()
    kept[1, :3] = 0
    emptied = cut_pixel_question(known._replace(kept=kept), 1, 0.4)
    assert np.flatnonzero(emptied.cells).tolist() == [6, 7, 8] and "empties the row" in emptied.words


def test_a_seed_always_draws_the_same_questions_and_names_differ():
    seeds = [seed_of("7b", f"student {number}") for number in range(12)]
    assert seed_of("7b", "  Ada\tLovelace ") == seed_of("7b", "ada lovelace") != seed_of("7c", "ada lovelace")
    drawn = {seed: drawn_questions(seed, figures()) for seed in seeds}
    for seed, asked in drawn.items():
        assert [question.name for question in asked] == list(QUESTION_NAMES)
        assert [question.words for question in asked] == [q.words for q in drawn_questions(seed, figures())]
        for question in asked:
            answer = right_answer(question)
            assert question.is_right(answer) and is_answered(answer)
            assert not question.is_right(wrong_answer(question, answer))
    assert len({tuple(question.words for question in asked) for asked in drawn.values()}) == len(seeds)


def test_a_network_without_gr_is_asked_for_hollows():
    assert "hollow" in drawn_questions(1, figures(gated=False))[-1].words
    assert "hollow" in drawn_questions(1, figures()._replace(kept=np.ones((4, 6))))[-1].words


def test_where_nothing_is_hollow_little_noise_is_asked_for():
    even = figures(gated=False)._replace(hollow=np.zeros((4, 6)))
    question = drawn_questions(1, even)[-1]
    assert "noise is below" in question.words and question.is_right(right_answer(question))


def test_a_picture_that_no_question_fits_is_refused():
    with pytest.raises(ValueError, match="choose another picture"):
        drawn_questions(1, figures()._replace(noise=np.full((4, 6), np.nan)))


@pytest.mark.parametrize("labelled", [True, False])
def test_the_cells_figures_are_those_of_the_noise_report(labelled):
    random = np.random.default_rng(0)
    labels = np.repeat(np.repeat(random.integers(0, 2, (3, 4)), 10, axis=0), 10, axis=1)
    capture = Capture.from_qk(
        *random.standard_normal((2, 5, 3, 4)).astype(np.float32),
        3,
        4,
        class_probs=random.dirichlet(np.ones(2), (3, 4)).transpose(2, 0, 1).astype(np.float32),
        image=np.zeros((30, 40, 3), np.uint8),
        labels=labels if labelled else None,
        prediction=None if labelled else labels,
        label_set=LabelSet("two", ("a", "b"), ((0, 0, 0), (255, 255, 255)), 255),
        placement="blocks",
    )
    known = cell_figures(capture)
    rows = attention_rows(capture, None, gate="binary", lr_kernel=None)
    raw, rectified = (
        query_metrics(stage, labels[::10, ::10], np.arange(12), ignore_index=255)
        for stage in (rows.raw, rows.rectified)
    )
    np.testing.assert_allclose(known.noise.ravel(), raw.interclass_noise)
    np.testing.assert_allclose(known.hollow.ravel(), raw.hollow_fraction)
    np.testing.assert_allclose(known.kept.ravel(), rectified.kept_mass, atol=1e-12)
    assert known.class_names == ("a", "b") and known.grid.cells == (3, 4)
