import copy
import math

import numpy as np
import pytest
import torch

from analysis import lesson
from analysis.lesson import LABELS, QUERY, ROAD
from dnl import ModelConfig, build_model
from dnl.attention import GATES

SIGMA = {0: 0.5, 1: 0.7310585786300049}


def test_the_softmax_row_is_that_of_the_scores():
    scores = np.array([[0.0, math.log(2), math.log(3)], [0.0, math.log(2), 0.0]])
    np.testing.assert_allclose(lesson.softmax_row(scores), np.array([[1, 2, 3], [1, 2, 1]]) / 10)
    np.testing.assert_allclose(lesson.softmax_row(scores + 7), np.array([[1, 2, 3], [1, 2, 1]]) / 10)


def test_half_the_temperature_squares_the_ratios():
    scores = np.array([[0.0, math.log(2), math.log(3)]])
    np.testing.assert_allclose(lesson.softmax_row(scores, 0.5), np.array([[1, 4, 9]]) / 14)


def test_saturation_grows_with_the_channels_only_without_the_scale():
    plain = [lesson.saturation(channels, scaled=False) for channels in (1, 16, 256)]
    scaled = [lesson.saturation(channels, scaled=True) for channels in (16, 256)]
    assert plain[0].top_mass < plain[1].top_mass < plain[2].top_mass
    assert plain[2].top_mass > 0.85 and plain[2].effective_keys < 2
    assert all(each.top_mass < 0.15 and each.effective_keys > 40 for each in scaled)
    np.testing.assert_allclose([each.sorted_row.sum() for each in plain], 1)
    # With one channel there is nothing to scale.
    np.testing.assert_allclose(plain[0].sorted_row, lesson.saturation(1, scaled=True).sorted_row)


def test_the_sliders_move_the_metrics_as_defined():
    road, other = int((LABELS == ROAD).sum()) - 1, int((LABELS != ROAD).sum())
    figures = lesson.row_figures(lesson.noisy_row(0.3, 0.0))
    assert figures["interclass_noise"] == pytest.approx(0.3)
    assert figures["chance"] == pytest.approx(other / (road + other))
    assert figures["intraclass_noise"] == pytest.approx(0, abs=1e-12)
    assert figures["kept_mass"] == pytest.approx(1)
    one_cell = lesson.row_figures(lesson.noisy_row(0.0, 1.0))
    assert one_cell["interclass_noise"] == 0
    assert one_cell["intraclass_noise"] == pytest.approx(1)
    assert one_cell["hollow_fraction"] == pytest.approx((road - 1) / road)
    assert one_cell["effective_keys"] == pytest.approx(1)


def test_an_even_row_has_the_noise_of_chance():
    row = np.ones(LABELS.shape)
    figures = lesson.row_figures(row)
    assert figures["interclass_noise"] == pytest.approx(figures["chance"])


def test_an_empty_row_has_no_noise_but_its_chance():
    figures = lesson.row_figures(np.zeros(LABELS.shape))
    assert figures["interclass_noise"] is None and figures["intraclass_noise"] is None
    assert figures["kept_mass"] == 0 and figures["chance"] > 0


def test_gates_between_two_cells_by_hand():
    query, key = np.array([[0.1], [0.1], [0.8]]), np.array([[0.2], [0.5], [0.3]])
    gates = lesson.gates_of(query, key)
    similarity = 0.1 * 0.2 + 0.1 * 0.5 + 0.8 * 0.3
    assert set(gates) == set(GATES)
    assert gates["similarity"][0] == pytest.approx(similarity)
    assert gates["sigmoid"][0] == pytest.approx(1 / (1 + math.exp(-similarity)))
    assert gates["binary"][0] == 0


def test_gate_curves_end_where_both_cells_are_sure():
    confidence = np.array([0.5, 1.0])
    curves = lesson.gate_curves(confidence)
    # 0.5, 0.25, 0.25: p·p = 0.375 within a class, 0.3125 across.
    np.testing.assert_allclose(curves["similarity"], [[0.375, 1], [0.3125, 0]])
    np.testing.assert_allclose([curve[1] for curve in curves["sigmoid"]], [SIGMA[1], SIGMA[0]])
    np.testing.assert_array_equal(curves["binary"], [[1, 1], [0, 0]])


def test_the_sigmoid_gate_lowers_another_class_by_at_most_a_third():
    low, high = lesson.sigmoid_gate_range()
    assert (low, high) == pytest.approx((SIGMA[0], SIGMA[1]))
    assert round(1 - low / high, 2) == 0.32


@pytest.mark.parametrize(("gate", "same", "other"), [("sigmoid", *(SIGMA[1], SIGMA[0])), ("binary", 1, 0)])
def test_a_sure_prediction_gates_the_row_by_class(gate, same, other):
    row = lesson.noisy_row(0.5, 0.2)
    expected = row * np.where(LABELS == ROAD, same, other)
    np.testing.assert_allclose(lesson.rectified_row(row, gate, 1.0), expected)


def test_a_mistaken_prediction_cuts_the_right_cells():
    row = lesson.noisy_row(0.0, 0.0)
    rectified = lesson.rectified_row(row, "binary", 0.9, mistaken=True)
    assert all(row[cell] > 0 and rectified[cell] == 0 for cell in lesson.MISTAKEN)
    others = np.ones(LABELS.shape, bool)
    others[tuple(zip(*lesson.MISTAKEN, strict=True))] = False
    np.testing.assert_array_equal(rectified[others], row[others])


def slow_retention(row, weight_of, kernel):
    height, width = row.shape
    reach = kernel // 2
    out = np.zeros(row.shape)
    for y, x in np.ndindex(height, width):
        for v in range(max(0, y - reach), min(height, y + reach + 1)):
            for u in range(max(0, x - reach), min(width, x + reach + 1)):
                out[y, x] += weight_of((y, x), (v, u)) * row[v, u]
    return out


@pytest.mark.parametrize("kernel", [3, 5])
def test_retention_collects_the_neighbours_by_their_scores(kernel):
    row = lesson.hollow_row()

    def weight_of(cell, neighbour):
        return 1 / (1 + math.exp(-(2.0 if LABELS[cell] == LABELS[neighbour] else -1.5)))

    retention = lesson.retained_row(row, same_score=2.0, other_score=-1.5, kernel=kernel)
    np.testing.assert_allclose(retention.row, slow_retention(row, weight_of, kernel))
    assert retention.weights.shape == (kernel**2, *LABELS.shape)


def test_retention_fills_the_hollow():
    row = lesson.hollow_row()
    before, after = (
        lesson.row_figures(each) for each in (row, lesson.retained_row(row, same_score=2.0, other_score=-2.0).row)
    )
    assert row.sum() == pytest.approx(1)
    assert before["hollow_fraction"] == pytest.approx(len(lesson.HOLE) / 10)
    assert after["hollow_fraction"] == 0
    assert after["intraclass_noise"] < before["intraclass_noise"]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("kernel", [1, 3])
def test_folding_gives_the_same_numbers(gate, kernel):
    example = lesson.folding_example(3, kernel=kernel, gate=gate, size=(2, 4))
    assert example.value.shape == (2, 4) and example.retained.shape == (8, 8)
    np.testing.assert_allclose(example.unfolded, example.folded, atol=1e-12)
    np.testing.assert_allclose(example.unfolded, example.block, atol=1e-12)
    assert not np.allclose(example.value, example.folded_value)


def test_other_numbers_for_another_seed():
    assert not np.array_equal(lesson.folding_example(1).value, lesson.folding_example(2).value)


def test_cost_by_hand():
    cost = lesson.retention_cost(100, kernel=3, channels=8)
    assert cost == (2 * 9 * 100**2, (9 + 8) * 100, 9 * 100**2, 9 * 100 * 8, 100**2 * 8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = build_model(ModelConfig("resnet18", 8, 11, attention_stride=8, gamma_init=0.7)).eval()
    with torch.no_grad():
        network.context.query.weight *= 0.1
    return network


def test_altered_predictions_are_those_of_the_altered_model_and_leave_it_alone(model):
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predictions = lesson.altered_predictions(model, image)
    assert set(predictions) == set(lesson.ALTERATIONS)
    assert all(each.shape == (40, 56) and each.dtype == np.uint8 for each in predictions.values())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.context.attention_source == "learnt"
    assert any((predictions[name] != predictions["learnt"]).any() for name in ("uniform", "mean", "off"))
    with torch.no_grad():
        model.context.gamma.fill_(0)
        off = lesson.altered_predictions(model, image)["learnt"]
        model.context.gamma.fill_(0.7)
    np.testing.assert_array_equal(predictions["off"], off)


def test_altered_predictions_need_attention():
    network = build_model(ModelConfig("resnet18", 8, 11, context="fcn")).eval()
    with pytest.raises(ValueError, match="no attention block"):
        lesson.altered_predictions(network, np.zeros((40, 56, 3), np.uint8))


@pytest.mark.parametrize("value", [1e38, math.nan])
def test_logits_that_are_no_finite_numbers_are_no_prediction(model, value):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.head[-1].weight.fill_(value)  # query and key stay as they were
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="weights are broken or too large for 'Street 3': its logits"):
        lesson.altered_predictions(broken, image, "Street 3")


def test_pixel_accuracy_leaves_out_what_is_ignored():
    prediction, labels = np.array([[1, 2, 3]]), np.array([[1, 0, 255]])
    assert lesson.pixel_accuracy(prediction, labels, 255) == 0.5
    assert math.isnan(lesson.pixel_accuracy(prediction, np.full((1, 3), 255), 255))


def test_cells_of_a_class_are_spread_over_all_of_them():
    labels = np.array([[0, 1, 1], [1, 1, 1]])
    np.testing.assert_array_equal(lesson.cells_of_class(labels, 1, count=3), [1, 3, 5])
    np.testing.assert_array_equal(lesson.cells_of_class(labels, 0), [0])
    assert lesson.cells_of_class(labels, 7).size == 0


def test_the_query_stands_on_the_road():
    assert LABELS[QUERY] == ROAD and all(LABELS[cell] == ROAD for cell in (*lesson.HOLE, *lesson.MISTAKEN))
