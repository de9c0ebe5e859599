"""The lens's computing for keys on a grid of their own, patches within a crop and queries without a place.

Against `Grid`, and against the definitions written out in NumPy here.
"""

import numpy as np
import pytest

from analysis import Capture
from analysis.geometry import Grid
from analysis.lens import pack_capture
from dnl.classes import LabelSet
from tests.browser.test_lens_numbers import COLUMN_SCRIPT, METRICS, STAGES, finish, open_buffer

pytestmark = pytest.mark.browser

IGNORE = 4
EMPTIED = 1e-6


# --- where cells lie -------------------------------------------------------------------------------------------------

GEOMETRY_SCRIPT = """([size, cells, placement, crop]) => {
  const grid = lens.gridOf(size, cells, placement, crop);
  const { across, down } = lens.spansOf(grid);
  return [
    Array.from({ length: size[0] * size[1] }, (_, n) => lens.cellOf(grid, [Math.floor(n / size[1]), n % size[1]])),
    Array.from({ length: grid.cells }, (_, cell) => lens.pixelOf(grid, cell)),
    [across.start, across.start + across.pitch * cells[1], down.start + down.pitch * cells[0], down.start],
  ];
}"""


@pytest.mark.parametrize(
    ("size", "cells", "placement", "crop"),
    [
        ((224, 224), (14, 14), "blocks", None),  # a ViT's: all 50,176 pixels
        ((224, 224), (14, 14), "corners", None),
        ((47, 83), (6, 11), "blocks", None),
        ((47, 83), (6, 11), "blocks", (3, 10, 40, 61)),
        ((47, 83), (6, 11), "corners", (3, 10, 40, 61)),
        ((10, 9), (1, 9), "blocks", (2, 0, 7, 9)),
        ((5, 7), (9, 10), "blocks", None),  # more cells than pixels
        ((33, 1), (5, 1), "blocks", None),
        ((1, 30), (1, 30), "corners", None),
    ],
)
def test_cells_lie_where_python_s_lie(script_page, size, cells, placement, crop):
    grid = Grid(size, cells, placement, crop)
    under, centres, extent = script_page.evaluate(GEOMETRY_SCRIPT, [size, cells, placement, crop])
    top, left, height, width = grid.seen
    under = np.reshape(under, size)
    for y in range(size[0]):
        for x in range(size[1]):
            nearest = min(max(y, top), top + height - 1), min(max(x, left), left + width - 1)
            row, column = grid.cell_at(*nearest)
            assert under[y, x] == row * cells[1] + column
    for cell, pixel in enumerate(centres):
        assert tuple(pixel) == grid.pixel_at(*divmod(cell, cells[1]))
    # In the lens pixel (y, x) covers y … y + 1.
    assert extent == pytest.approx([edge + 0.5 for edge in grid.extent()])


# --- numbers ---------------------------------------------------------------------------------------------------------


def keys_elsewhere(spread=1.5, **changes) -> Capture:
    """9×12 queries and 4×7 keys, patches of a crop of a photo of 47×83 pixels with unlabelled parts."""
    rng = np.random.default_rng(5)
    fields = {
        "query": (spread * rng.normal(size=(5, 9, 12))).astype(np.float32),
        "key": rng.normal(size=(5, 4, 7)).astype(np.float32),
        "class_probs": rng.dirichlet(np.ones(4), (9, 12)).transpose(2, 0, 1).astype(np.float32),
        "image": rng.integers(0, 256, (47, 83, 3), dtype=np.uint8),
        "labels": np.kron(rng.integers(0, 5, (6, 11)), np.ones((8, 8), int))[:47, :83].astype(np.uint8),
        "prediction": np.kron(rng.integers(0, 4, (6, 11)), np.ones((8, 8), int))[:47, :83].astype(np.uint8),
        "label_set": LabelSet("tiny", ("a", "b", "c", "d"), ((0, 0, 0),) * 4, ignore_index=IGNORE),
        "key_size": (4, 7),
        "placement": "blocks",
        "crop": (2, 5, 40, 70),
        "dropped": rng.random((9, 12)).astype(np.float32),
    }
    return Capture(**(fields | changes))


def object_queries(**changes) -> Capture:
    """Ten queries without a place over 4×7 keys; what two of them look for is not known."""
    rng = np.random.default_rng(6)
    names = tuple(f"object {number}" for number in range(10))
    known = np.array([0, 1, 2, 3, IGNORE, 1, 0, IGNORE, 2, 2])
    fields = {"query": rng.normal(size=(5, 1, 10)).astype(np.float32), "query_names": names, "query_labels": known}
    return keys_elsewhere(**({"dropped": None, "class_probs": None} | fields | changes))


def finished(capture: Capture) -> Capture:
    """The same as a finished map."""
    return Capture(
        None,
        None,
        **{name: getattr(capture, name) for name in ("image", "labels", "prediction", "label_set", "key_size")},
        **{name: getattr(capture, name) for name in ("placement", "crop", "query_names", "query_labels")},
        attention=raw_rows(capture).astype(np.float32),
        attention_size=capture.cells,
        lr_weights="box",
    )


def raw_rows(capture: Capture, temperature: float = 1.0) -> np.ndarray:
    """N×N′ float64."""
    if capture.attention is not None:
        return capture.attention.astype(np.float64)
    assert capture.query is not None and capture.key is not None
    query, key = (array.reshape(len(array), -1).astype(np.float64) for array in (capture.query, capture.key))
    scores = query.T @ key / temperature
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def boxed(rows: np.ndarray, cells: tuple[int, int], kernel: int) -> np.ndarray:
    """Rows over keys, each key the sum over a window divided by kernel²."""
    maps = rows.reshape(-1, *cells)
    reach = kernel // 2
    padded = np.pad(maps, ((0, 0), (reach, reach), (reach, reach)))
    windows = [padded[:, y : y + cells[0], x : x + cells[1]] for y in range(kernel) for x in range(kernel)]
    return (np.sum(windows, axis=0) / kernel**2).reshape(rows.shape)


def figures_of(row: np.ndarray, classes: np.ndarray, own: int) -> dict[str, float]:
    """The definitions for one row over cells that are none of them the query's own; NaN: undefined."""
    found = dict.fromkeys(METRICS, np.nan)
    if own == IGNORE:
        return found
    same, other = row[classes == own], row[(classes != own) & (classes != IGNORE)]
    mass = same.sum() + other.sum()
    found["kept_mass"] = mass
    if len(same) and len(other):
        found["chance"] = len(other) / (len(same) + len(other))
    if mass < EMPTIED:
        return found
    shares = np.concatenate([same, other]) / mass
    shares = shares[shares > 0]
    found["effective_keys"] = np.exp(-(shares * np.log(shares)).sum())
    if len(same) and len(other):
        found["interclass_noise"] = other.sum() / mass
    if len(same) >= 2:
        found["intraclass_noise"] = found["hollow_fraction"] = 1.0
        if same.sum() > 0:
            parts = same[same > 0] / same.sum()
            found["intraclass_noise"] = 1 + (parts * np.log(parts)).sum() / np.log(len(same))
            found["hollow_fraction"] = (same < 0.25 * same.mean()).mean()
    return found


def expected_stages(capture: Capture, kernel: int | None, temperature: float = 1.0) -> dict[str, np.ndarray]:
    raw = raw_rows(capture, temperature)
    return {"raw": raw, "rectified": raw, "retained": boxed(raw, capture.key_cells, kernel) if kernel else raw}


def assert_figures(found: dict, expected: dict[str, float]) -> None:
    for name, script_name in METRICS.items():
        value = found[script_name]
        assert (np.nan if value is None else value) == pytest.approx(expected[name], rel=1e-8, abs=1e-12, nan_ok=True)


KINDS = {
    "patches": keys_elsewhere,
    "corners, against the prediction": lambda: keys_elsewhere(placement="corners", crop=None, labels=None),
    "more keys than queries": lambda: keys_elsewhere(
        query=keys_elsewhere().key, key=keys_elsewhere().query, key_size=(9, 12), dropped=None, class_probs=None
    ),
    "a finished map": lambda: finished(keys_elsewhere()),
    "without a place": object_queries,
    "a finished map without a place": lambda: finished(object_queries()),
    "nearly one-hot": lambda: keys_elsewhere(spread=60.0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "choices", [{}, {"retention": "box", "kernel": 5}, {"temperature": 2.5, "gate": "oracle", "retention": "learnt"}]
)
def test_rows_and_figures_follow_the_definitions(script_page, kind, choices):
    """GR and the learnt weights cannot be had, and are not."""
    capture = KINDS[kind]()
    open_buffer(script_page, pack_capture(capture))
    found = script_page.evaluate(
        """(choices) => Array.from({ length: capture.queryGrid.cells }, (_, cell) => {
          const stages = lens.attentionStages(capture, cell, lens.effectiveChoices(capture, choices));
          const metrics = lens.metricsOf(capture, cell, stages, "row");
          return lens.STAGES.map((stage) => [Array.from(stages[stage]), metrics[stage]]);
        })""",
        choices,
    )
    temperature = choices.get("temperature", 1.0) if capture.query is not None else 1.0
    expected = expected_stages(capture, choices.get("kernel"), temperature)
    classes = capture.key_labels.ravel()
    for index, stage in enumerate(STAGES):
        rows = [query[index][0] for query in found]
        np.testing.assert_allclose(rows, expected[stage], rtol=1e-9, atol=1e-15)
        for query, own in zip(found, capture.reference_labels.ravel(), strict=True):
            assert_figures(query[index][1], figures_of(np.array(query[index][0]), classes, own))


@pytest.mark.parametrize("kind", list(KINDS)[:4])
@pytest.mark.parametrize("choices", [{}, {"retention": "box", "kernel": 3, "temperature": 0.5}])
def test_columns_follow_the_definitions(script_page, kind, choices):
    capture = KINDS[kind]()
    open_buffer(script_page, pack_capture(capture))
    script = COLUMN_SCRIPT.replace("capture.queryGrid.cells }, (_, cell)", "capture.keyGrid.cells }, (_, cell)")
    found = np.array(script_page.evaluate(script, choices))  # key, stage, query
    temperature = choices.get("temperature", 1.0) if capture.query is not None else 1.0
    expected = expected_stages(capture, choices.get("kernel"), temperature)
    for index, stage in enumerate(STAGES):
        np.testing.assert_allclose(found[:, index], expected[stage].T, rtol=1e-9, atol=1e-15)
    metrics = script_page.evaluate(
        """([columns, cell]) => {
          const stages = {};
          lens.STAGES.forEach((stage, index) => (stages[stage] = Float64Array.from(columns[index])));
          return lens.metricsOf(capture, cell, stages, "column").retained;
        }""",
        [found[9].tolist(), 9],
    )
    own = capture.key_labels.ravel()[9]
    assert_figures(metrics, figures_of(expected["retained"][:, 9], capture.reference_labels.ravel(), own))


def test_log_sums_travel_for_every_query(script_page):
    capture = keys_elsewhere()
    open_buffer(script_page, pack_capture(capture))
    query, key = (array.reshape(5, -1).astype(np.float64) for array in (capture.query, capture.key))
    expected = np.log(np.exp(query.T @ key).sum(axis=1))
    np.testing.assert_allclose(script_page.evaluate("Array.from(capture.log_sums)"), expected, rtol=1e-12)
    found = finish(script_page, "allLogSums", {"choices": {}, "temperature": 2})
    np.testing.assert_allclose(found, np.log(np.exp(query.T @ key / 2).sum(axis=1)), rtol=1e-12)


@pytest.mark.parametrize("direction", ["row", "column"])
def test_a_region_has_the_mean_of_its_cells(script_page, direction):
    capture = keys_elsewhere()
    rows = expected_stages(capture, 3)
    of, onto = (
        (capture.cell_labels, capture.key_labels) if direction == "row" else (capture.key_labels, capture.cell_labels)
    )
    cells = np.flatnonzero(of.ravel() == 1).tolist()
    open_buffer(script_page, pack_capture(capture))
    log_sums = np.log(np.exp(capture.query.reshape(5, -1).T.astype(float) @ capture.key.reshape(5, -1)).sum(axis=1))
    options = {
        "cells": cells,
        "choices": {"retention": "box", "kernel": 3},
        "direction": direction,
        "logSums": log_sums.tolist(),
    }
    found = finish(script_page, "regionAverage", options)
    for stage in STAGES:
        values = rows[stage] if direction == "row" else rows[stage].T
        np.testing.assert_allclose(found["stages"][stage], values[cells].mean(axis=0), rtol=1e-7)
        noise = [figures_of(values[cell], onto.ravel(), 1)["interclass_noise"] for cell in cells]
        assert found["metrics"][stage]["interclassNoise"] == pytest.approx(np.mean(noise), rel=1e-7)


@pytest.mark.parametrize("kind", ["patches", "without a place"])
def test_the_noisiest_queries_follow_the_definitions(script_page, kind):
    capture = KINDS[kind]()
    open_buffer(script_page, pack_capture(capture))
    found = finish(script_page, "noisiestQueries", {"choices": {}, "count": 8})
    rows, classes = raw_rows(capture), capture.key_labels.ravel()
    labels = capture.cell_labels.ravel()
    noise = np.array([figures_of(row, classes, own)["interclass_noise"] for row, own in zip(rows, labels, strict=True)])
    assert [query["noise"] for query in found] == pytest.approx(noise[[query["cell"] for query in found]])
    assert found[0]["cell"] == np.nanargmax(noise)
    if kind == "without a place":  # they are never too near to each other
        assert [query["cell"] for query in found] == np.argsort(-noise, kind="stable")[: len(found)].tolist()
        assert len(found) == 8


# --- what can be had -------------------------------------------------------------------------------------------------


def test_gr_and_the_learnt_weights_need_keys_that_are_the_queries_cells(script_page):
    own = {"gate": "sigmoid", "lr_kernel": 3, "lr_weights": "learnt"}
    open_buffer(script_page, pack_capture(keys_elsewhere(**own, notes=("Its rows sum to 0.98.",))))
    assert script_page.evaluate("lens.availableGates(capture)") == ["off"]
    assert script_page.evaluate("lens.availableRetentions(capture)") == ["off", "box"]
    refused = script_page.evaluate("lens.refusedChoices(capture)")
    assert refused == {"gate": ["sigmoid", "binary", "similarity", "oracle"], "retention": ["learnt"]}
    assert script_page.evaluate("capture.ownChoices") == {
        "gate": "off",
        "retention": "off",
        "kernel": 3,
        "temperature": 1,
    }
    words = script_page.evaluate("lens.lacks(capture)")
    assert any("There are 9×12 queries and 4×7 keys." in sentence for sentence in words)
    assert any("bright part" in sentence for sentence in words) and words[-1] == "Its rows sum to 0.98."
    open_buffer(script_page, pack_capture(object_queries()))
    assert any("There are 10 queries and 4×7 keys." in words for words in script_page.evaluate("lens.lacks(capture)"))


def test_a_map_with_weights_below_nothing_has_no_figures(script_page):
    capture = finished(keys_elsewhere())
    capture.attention[3, 5] = -0.25
    open_buffer(script_page, pack_capture(capture))
    metrics = script_page.evaluate(
        'lens.metricsOf(capture, 3, lens.attentionStages(capture, 3, lens.effectiveChoices(capture, {})), "row").raw'
    )
    assert not metrics["labelled"] and metrics["interclassNoise"] is None
    assert "weights below 0" in script_page.evaluate("lens.lacks(capture)")[0]
