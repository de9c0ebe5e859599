"""The lens's computing in a real browser, against Python's."""

import base64
import itertools

import numpy as np
import pytest

from analysis import Capture
from analysis.figures import Scale, map_scale
from analysis.geometry import cell_to_pixel, pixel_to_cell
from analysis.lens import FIRST_LOOK, pack_capture, row_options
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import LabelSet

pytestmark = pytest.mark.browser

STAGES = ("raw", "rectified", "retained")
METRICS = {
    "interclass_noise": "interclassNoise",
    "chance": "chance",
    "kept_mass": "keptMass",
    "intraclass_noise": "intraclassNoise",
    "hollow_fraction": "hollowFraction",
    "effective_keys": "effectiveKeys",
}


def make_capture(spread=1.0, **changes) -> Capture:
    """A capture of 6×11 cells over a photo of 47×83 pixels with unlabelled parts. A wide spread: nearly one-hot."""
    rng = np.random.default_rng(3)
    fields = {
        "query": (spread * rng.normal(size=(5, 6, 11))).astype(np.float32),
        "key": rng.normal(size=(5, 6, 11)).astype(np.float32),
        "class_probs": rng.dirichlet(np.ones(4) / 3, (6, 11)).transpose(2, 0, 1).astype(np.float32),
        "image": rng.integers(0, 256, (47, 83, 3), dtype=np.uint8),
        "labels": np.kron(rng.integers(0, 5, (6, 11)), np.ones((8, 8), int))[:47, :83].astype(np.uint8),
        "prediction": np.kron(rng.integers(0, 4, (6, 11)), np.ones((8, 8), int))[:47, :83].astype(np.uint8),
        "label_set": LabelSet("tiny", ("a", "b", "c", "d"), ((0, 0, 0),) * 4, ignore_index=4),
        "gate": "similarity",
        "lr_kernel": 5,
    }
    return Capture(**(fields | changes))


def open_buffer(page, buffer: bytes) -> None:
    """The buffer unpacked on the page as `image`, and its first model as `capture`."""
    page.evaluate(
        """(text) => {
          window.image = lens.unpack(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
          window.capture = image.models[0];
        }""",
        base64.b64encode(buffer).decode(),
    )


def computed_by_script(page, capture: Capture, choices: dict) -> list[dict]:
    """For every cell: its three rows and their metrics."""
    open_buffer(page, pack_capture(capture))
    return page.evaluate(
        """(choices) => Array.from({ length: capture.queryGrid.cells }, (_, cell) => {
          const stages = lens.attentionStages(capture, cell, lens.effectiveChoices(capture, choices));
          return Object.fromEntries(lens.STAGES.map((stage) => [stage, {
            row: Array.from(stages[stage]),
            metrics: lens.metricsOf(capture, cell, stages, "row")[stage],
          }]));
        })""",
        choices,
    )


def assert_same_numbers(page, capture: Capture, choices: dict) -> None:
    found = computed_by_script(page, capture, choices)
    labels = capture.cell_prediction if capture.cell_labels is None else capture.cell_labels
    queries = np.arange(capture.height * capture.width)
    rows = attention_rows(capture, queries, **row_options(capture, choices))
    for stage in STAGES:
        expected = getattr(rows, stage).reshape(len(queries), -1)
        np.testing.assert_allclose([cell[stage]["row"] for cell in found], expected, rtol=1e-9, atol=1e-15)
        metrics = query_metrics(expected, labels, queries, ignore_index=capture.ignore_index)
        for name, script_name in METRICS.items():
            values = [cell[stage]["metrics"][script_name] for cell in found]
            values = np.array([np.nan if value is None else value for value in values])
            np.testing.assert_allclose(values, getattr(metrics, name), rtol=1e-8, atol=1e-12, err_msg=f"{stage} {name}")
        assert [cell[stage]["metrics"]["emptied"] for cell in found] == metrics.emptied.tolist()


@pytest.mark.parametrize(
    ("gate", "retention"),
    list(itertools.product(("off", "sigmoid", "binary", "similarity", "oracle"), ("off", "learnt", "box"))),
)
def test_rows_and_metrics_are_python_s(script_page, gate, retention):
    assert_same_numbers(script_page, make_capture(), {"gate": gate, "retention": retention})


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": None},  # measured against the prediction, without the oracle
        {"gate": None, "lr_kernel": None},  # a plain non-local block
        {"lr_kernel": 3, "lr_weights": "box"},
        {"spread": 40.0, "gate": "binary"},  # emptied rows, and nothing on the own class
        {"labels": np.zeros((47, 83), np.uint8)},  # one class alone
    ],
)
def test_the_model_s_own_choices_are_python_s(script_page, changes):
    assert_same_numbers(script_page, make_capture(**changes), {"gate": "oracle" if "labels" in changes else None})


@pytest.mark.parametrize("choices", [{}, {"gate": "oracle", "retention": "learnt"}, {"retention": "box"}])
@pytest.mark.parametrize("probs", [True, False])
def test_a_finished_map_s_numbers_are_python_s(script_page, probs, choices):
    full = make_capture()
    rows = attention_rows(full, gate=None, lr_kernel=None).raw.reshape(66, 66)
    capture = Capture.from_attention(
        rows,
        6,
        11,
        full.class_probs if probs else None,
        full.image,
        full.labels,
        label_set=full.label_set,
        gate="binary" if probs else None,
    )
    assert_same_numbers(script_page, capture, choices)
    lacking = script_page.evaluate("lens.lacks(capture)")
    assert ["class_probs" in words for words in lacking] == ([False] if probs else [True, False])
    assert "query and key" in lacking[-1]
    gates = script_page.evaluate("lens.availableGates(capture)")
    assert gates == (["off", "sigmoid", "binary", "similarity", "oracle"] if probs else ["off", "oracle"])
    assert script_page.evaluate("lens.availableRetentions(capture)") == ["off", "box"]


def test_attention_without_classes_has_maps_but_no_figures(script_page):
    full = make_capture()
    capture = Capture.from_qk(full.query, full.key, 6, 11).with_image()
    found = computed_by_script(script_page, capture, {"gate": "binary", "retention": "learnt"})
    expected = attention_rows(capture, lr_kernel=3, lr_weights="learnt")
    np.testing.assert_allclose(
        [cell["retained"]["row"] for cell in found], expected.retained.reshape(66, -1), rtol=1e-9, atol=1e-15
    )
    assert all(cell["raw"]["metrics"]["interclassNoise"] is None for cell in found)
    first, second = script_page.evaluate("lens.lacks(capture)")
    assert "no classes to measure noise against" in first and "class_probs" in second


def test_pixels_and_cells_are_python_s(script_page):
    for pixels, cells in ((47, 6), (83, 11), (360, 45), (480, 60), (10, 10), (7, 1), (1, 1), (33, 5)):
        found = script_page.evaluate(
            """([pixels, cells]) => [
              Array.from({ length: pixels }, (_, pixel) => lens.pixelToCell(pixel, pixels, cells)),
              Array.from({ length: cells }, (_, cell) => lens.cellToPixel(cell, pixels, cells)),
            ]""",
            [pixels, cells],
        )
        assert found[0] == [pixel_to_cell(0, x, (1, pixels), (1, cells))[1] for x in range(pixels)]
        assert found[1] == [cell_to_pixel(0, x, (1, pixels), (1, cells))[1] for x in range(cells)]


def test_a_constant_map_has_a_colour_and_a_number(script_page):
    found = script_page.evaluate(
        """() => {
          const range = lens.colourRange([new Float64Array(6)], "weight", 99.8);
          return [range, lens.colourPosition(0, range), lens.colourTicks(range)];
        }"""
    )
    assert found == [{"low": 0, "high": 0, "clipped": False, "kind": "linear"}, 0, [[0, "0"]]]


@pytest.mark.parametrize(("scale", "kind"), [("share", "uniform"), ("log", "log"), ("weight", "shared")])
@pytest.mark.parametrize("lowest", [False, True])
def test_the_colour_scale_is_that_of_the_figures(script_page, scale, kind, lowest):
    """The same pin looks the same in the lens and in a figure: also where the maps are nearly even, or sharp."""
    rng = np.random.default_rng(0)
    maps = {
        "nearly even": [1 + 0.05 * rng.uniform(-1, 1, (5, 9)) for _ in range(2)],
        "sharp": [np.where(np.arange(45) == 7, 45.0, 0).reshape(5, 9)],
        "plain": [rng.exponential(size=(5, 9)) for _ in range(3)],
    }
    clip = FIRST_LOOK["clip"]
    assert clip == Scale().clip_percentile
    for name, shown in maps.items():
        rows = [values.ravel().tolist() for values in shown]
        found = script_page.evaluate(
            """([rows, scale, clip, lowest]) =>
              lens.colourRange(rows.map((row) => Float64Array.from(row)), scale, clip, lowest)""",
            [rows, scale, clip, lowest],
        )
        norm, clipped = map_scale(shown, Scale(kind, clip, from_lowest=lowest))
        assert (found["low"], found["high"]) == pytest.approx((norm.vmin, norm.vmax)), name
        assert found["clipped"] == clipped
    if lowest and kind != "log":
        even = script_page.evaluate("() => lens.colourTicks({ low: 0.9996, high: 1.0004, kind: 'linear' })")
        assert len({text for _, text in even}) == len(even) >= 3


def test_the_colour_scale_s_numbers_are_round_and_within_it(script_page):
    for high in (1.0, 0.037, 17.3, 2500.0):
        ticks = script_page.evaluate("(high) => lens.colourTicks({ low: 0, high, kind: 'linear' })", high)
        assert 3 <= len(ticks) <= 6 and ticks[0] == [0, "0"]
        assert all(value <= high * (1 + 1e-9) and float(text) == pytest.approx(value) for value, text in ticks)


# --- beyond the rows of one query ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choices",
    [{"kernel": 3, "retention": "learnt"}, {"kernel": 7, "retention": "box"}, {"kernel": 7, "gate": "binary"}],
)
@pytest.mark.parametrize("temperature", [None, 0.4, 3.0])
def test_kernel_and_temperature_are_python_s(script_page, choices, temperature):
    assert_same_numbers(script_page, make_capture(), choices | {"temperature": temperature})


def test_temperature_divides_the_softmax_s_scores_alone(script_page):
    """LR's weights stay those of temperature 1: the ratio of retained to rectified is theirs."""
    capture = make_capture(lr_kernel=1, gate=None)
    hot, plain = (computed_by_script(script_page, capture, {"temperature": value}) for value in (4.0, 1.0))
    ratios = [[np.divide(cell["retained"]["row"], cell["raw"]["row"]) for cell in cells] for cells in (hot, plain)]
    np.testing.assert_allclose(*ratios, rtol=1e-12)
    assert not np.allclose(hot[0]["raw"]["row"], plain[0]["raw"]["row"])


COLUMN_SCRIPT = """(choices) => {
  const chosen = lens.effectiveChoices(capture, choices);
  const job = lens.TASKS.allLogSums.share(capture, chosen, 0, capture.attention ? 0 : capture.queryGrid.cells);
  let step = job.next();
  while (!step.done) step = job.next();
  const logSums = chosen.temperature === 1 && capture.log_sums ? capture.log_sums : step.value;
  return Array.from({ length: capture.queryGrid.cells }, (_, cell) => {
    const stages = lens.attentionColumns(capture, cell, chosen, logSums);
    return lens.STAGES.map((stage) => Array.from(stages[stage]));
  });
}"""


def assert_same_columns(page, capture: Capture, choices: dict) -> None:
    open_buffer(page, pack_capture(capture))
    found = np.array(page.evaluate(COLUMN_SCRIPT, choices))  # cell, stage, query
    rows = attention_rows(capture, **row_options(capture, choices))
    for index, stage in enumerate(STAGES):
        whole = getattr(rows, stage).reshape(found.shape[0], -1)  # query, cell
        np.testing.assert_allclose(found[:, index], whole.T, rtol=1e-9, atol=1e-15, err_msg=stage)


@pytest.mark.parametrize("gate", ["off", "sigmoid", "binary", "similarity", "oracle"])
@pytest.mark.parametrize("retention", ["off", "learnt", "box"])
def test_columns_are_python_s(script_page, gate, retention):
    assert_same_columns(script_page, make_capture(), {"gate": gate, "retention": retention})


@pytest.mark.parametrize("choices", [{"temperature": 0.3}, {"kernel": 7, "temperature": 5.0}])
def test_columns_at_another_temperature_are_python_s(script_page, choices):
    assert_same_columns(script_page, make_capture(spread=6.0), choices)


def test_columns_of_a_finished_map_are_python_s(script_page):
    rows = attention_rows(make_capture(), gate=None, lr_kernel=None).raw.reshape(66, 66)
    full = make_capture()
    capture = Capture.from_attention(rows, 6, 11, full.class_probs, full.image, label_set=full.label_set, gate="binary")
    assert_same_columns(script_page, capture, {"retention": "box"})


def test_two_hundred_queries_of_a_real_street_agree_within_a_thousandth(script_page, street):
    """Every gate, LR on and off, at 45×60 cells. A tie of float rounding may move one cell into or out of a hollow."""
    labels = street.cell_labels
    queries = np.random.default_rng(0).choice(labels.size, 200, replace=False)
    open_buffer(script_page, pack_capture(street))
    moved = 0
    for gate, retention in itertools.product(("off", "sigmoid", "binary", "similarity", "oracle"), ("off", "learnt")):
        choices = {"gate": gate, "retention": retention}
        found = script_page.evaluate(
            """([queries, choices, names]) => {
              const chosen = lens.effectiveChoices(capture, choices);
              const space = lens.workspace(capture.keyGrid.cells);
              return queries.map((cell) => {
                const stages = lens.attentionStages(capture, cell, chosen, space);
                const metrics = lens.metricsOf(capture, cell, stages, "row");
                return lens.STAGES.map((stage) => names.map((name) => metrics[stage][name] ?? NaN));
              });
            }""",
            [queries.tolist(), choices, list(METRICS.values())],
        )
        found = np.array(found, dtype=float)
        rows = attention_rows(street, queries, **row_options(street, choices))
        for index, stage in enumerate(STAGES):
            metrics = query_metrics(getattr(rows, stage), labels, queries, ignore_index=street.ignore_index)
            for place, name in enumerate(METRICS):
                expected = getattr(metrics, name)
                difference = np.abs(found[:, index, place] - expected)
                if name == "hollow_fraction":
                    own_cells = np.array([(labels == labels.flat[query]).sum() - 1 for query in queries])
                    moved += int((difference > 1e-9).sum())
                    assert np.nanmax(difference * own_cells, initial=0) <= 1 + 1e-9
                else:
                    scale = np.maximum(1, np.abs(expected)) if name == "effective_keys" else 1
                    assert np.nanmax(difference / scale, initial=0) < 1e-6
                np.testing.assert_array_equal(np.isnan(found[:, index, place]), np.isnan(expected))
    assert moved <= 5


def finish(page, task: str, options: dict, shares: int = 1):
    """What a task of the script comes to when it is shared in so many parts, each driven to its end."""
    return page.evaluate(
        """([name, chosen, shares]) => {
          const options = { ...chosen, choices: lens.effectiveChoices(capture, chosen.choices) };
          const { count, share, join } = lens.TASKS[name];
          const items = count(capture, options);
          const results = Array.from({ length: shares }, (_, index) => {
            const [first, stop] = [index, index + 1].map((place) => Math.round((place * items) / shares));
            const job = share(capture, options, first, stop);
            let step = job.next();
            for (let done = 0; !step.done; step = job.next()) {
              if (step.value <= done || step.value > stop - first) throw new Error(`${step.value} after ${done}`);
              done = step.value;
            }
            return step.value;
          });
          return join(capture, options, results);
        }""",
        [task, options, shares],
    )


@pytest.mark.parametrize("shares", [1, 4])
def test_a_region_shows_the_mean_rows_and_the_mean_figures(script_page, shares):
    capture = make_capture()
    cells = [0, 5, 17, 18, 40, 65]
    open_buffer(script_page, pack_capture(capture))
    choices = {"gate": "binary", "retention": "learnt"}
    found = finish(script_page, "regionAverage", {"cells": cells, "choices": choices, "direction": "row"}, shares)
    rows = attention_rows(capture, cells, **row_options(capture, choices))
    of_stage = {
        stage: query_metrics(getattr(rows, stage), capture.cell_labels, cells, ignore_index=capture.ignore_index)
        for stage in STAGES
    }
    for stage in STAGES:
        expected = getattr(rows, stage)
        np.testing.assert_allclose(found["stages"][stage], expected.mean(axis=0).ravel(), rtol=1e-9, atol=1e-15)
        for name, script_name in METRICS.items():
            values = np.array([getattr(of_stage[one], name) for one in STAGES])
            shared = np.isfinite(values).all(axis=0)
            mean = getattr(of_stage[stage], name)[shared].mean()
            assert found["metrics"][stage][script_name] == pytest.approx(mean, rel=1e-8)


def test_a_region_compares_the_stages_on_the_queries_that_all_have(script_page):
    """The gate empties the row of a cell that alone has its predicted class; its raw noise does not count either."""
    lonely, cells = 17, [0, 5, 17, 40]
    class_probs = np.full((4, 6, 11), 0.1, np.float32)
    class_probs[0] = 0.7
    class_probs[:2, 1, 6] = 0.1, 0.7
    capture = make_capture(class_probs=class_probs)
    open_buffer(script_page, pack_capture(capture))
    choices = {"gate": "binary", "retention": "off"}
    found = finish(script_page, "regionAverage", {"cells": cells, "choices": choices, "direction": "row"})["metrics"]
    raw = attention_rows(capture, cells, **row_options(capture, choices)).raw
    metrics = query_metrics(raw, capture.cell_labels, cells, ignore_index=capture.ignore_index)
    others = np.array(cells) != lonely
    assert [found[stage]["emptiedCount"] for stage in STAGES] == [0, 1, 1]
    for name, script_name in METRICS.items():
        values = getattr(metrics, name)[others]
        assert found["raw"][script_name] == pytest.approx(values[np.isfinite(values)].mean(), rel=1e-8)


@pytest.mark.parametrize("shares", [1, 5])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_noisiest_queries_are_python_s_and_lie_apart(script_page, temperature, shares):
    capture = make_capture()
    open_buffer(script_page, pack_capture(capture))
    found = finish(script_page, "noisiestQueries", {"choices": {"temperature": temperature}, "count": 4}, shares)
    every = np.arange(66)
    rows = attention_rows(capture, temperature=temperature).raw
    noise = query_metrics(rows, capture.cell_labels, every, ignore_index=capture.ignore_index).interclass_noise
    assert found[0]["cell"] == np.nanargmax(noise)
    for query in found:
        assert query["noise"] == pytest.approx(noise[query["cell"]], rel=1e-8)
        labels = capture.cell_labels.ravel()
        masses = [rows[query["cell"]].ravel()[labels == label].sum() for label in range(4)]
        masses[labels[query["cell"]]] = 0
        assert query["taker"] == np.argmax(masses)
    places = [divmod(query["cell"], 11) for query in found]
    assert all(max(abs(a[0] - b[0]), abs(a[1] - b[1])) >= 3 for a, b in itertools.combinations(places, 2))
    assert [query["noise"] for query in found] == sorted((query["noise"] for query in found), reverse=True)


def spread_out(size: tuple[int, int], spread: float) -> Capture:
    """Random queries and keys on a map of that size, two pixels a cell."""
    rng = np.random.default_rng(4)
    image = np.zeros((2 * size[0], 2 * size[1], 3), np.uint8)
    query, key = (spread * rng.normal(size=(7, *size)).astype(np.float32) for _ in range(2))
    return Capture(query, key, image=image)


ROWS_SCRIPT = """([temperature, queries, plain]) => {
  const found = [];
  for (const { cell, row, total, highest } of lens.exponentialRows(
    capture, temperature, queries, plain ? null : lens.rowsInstance(),
  )) found.push([cell, Array.from(row), total, highest]);
  return found;
}"""


@pytest.mark.parametrize("size", [(6, 11), (7, 9), (52, 81)])  # 66, 63, 4212 keys: tiles that are full and are not
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_rows_of_many_queries_are_python_s_with_simd_and_without(script_page, size, temperature):
    capture = spread_out(size, spread=6.0)  # scores of hundreds: most of a row is 0 beside its largest
    query, key = (array.reshape(len(array), -1).astype(np.float64) for array in (capture.query, capture.key))
    queries = np.random.default_rng(1).permutation(query.shape[1])[:37].tolist()  # three blocks, the last one short
    scores = query.T[queries] @ key
    expected = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    open_buffer(script_page, pack_capture(capture))
    assert script_page.evaluate("lens.rowsInstance() !== null")
    for plain in (False, True):
        found = script_page.evaluate(ROWS_SCRIPT, [temperature, queries, plain])
        cells, rows, totals, highest = zip(*found, strict=True)
        assert list(cells) == queries
        np.testing.assert_allclose(rows, expected, rtol=1e-10, atol=1e-300)
        np.testing.assert_allclose(totals, expected.sum(axis=1), rtol=1e-12)
        np.testing.assert_allclose(highest, scores.max(axis=1), rtol=1e-12)


JOB_SCRIPT = """async (cores) => {
  Object.defineProperty(navigator, "hardwareConcurrency", { value: cores, configurable: true });
  const shares = [];
  let workers = 0;
  const Usual = window.Worker;
  window.Worker = class extends Usual {
    constructor(...about) {
      super(...about);
      workers++;
    }
  };
  try {
    const sums = await new Promise((done, failed) => {
      const progress = (share) => shares.push(share);
      lens.startJob(image, capture, "allLogSums", { temperature: 2 }, { progress, done, failed });
    });
    return { sums: Array.from(sums), workers, shares };
  } finally {
    window.Worker = Usual;
  }
}"""


@pytest.mark.parametrize(("size", "cores", "workers"), [((6, 11), 8, 1), ((72, 90), 1, 1), ((72, 90), 8, 3)])
def test_a_large_map_is_shared_among_as_many_workers_as_there_are_cores(script_page, size, cores, workers):
    capture = spread_out(size, spread=1.0)
    open_buffer(script_page, pack_capture(capture))
    found = script_page.evaluate(JOB_SCRIPT, cores)
    assert found["workers"] == workers
    assert len(found["shares"]) >= workers - 1 and all(0 < share < 1 for share in found["shares"])
    query, key = (array.reshape(len(array), -1).astype(np.float64) for array in (capture.query, capture.key))
    np.testing.assert_allclose(found["sums"], np.log(np.exp(query.T @ key / 2).sum(axis=1)), rtol=1e-12)


def test_what_is_nothing_beside_the_largest_is_0_with_simd_too(script_page):
    """Two classes that see nothing of each other: no query has noise, and none is listed."""
    labels = np.repeat([[0] * 4 + [1] * 4], 6, axis=0)
    query = 30 * (np.stack([labels == 0, labels == 1])).astype(np.float32)  # scores of 900 and 0
    known = LabelSet("two", ("a", "b"), ((0, 0, 0),) * 2, ignore_index=2)
    image = np.zeros((12, 16, 3), np.uint8)
    capture = Capture(query, query.copy(), image=image, labels=labels.astype(np.uint8), label_set=known)
    open_buffer(script_page, pack_capture(capture))
    rows = script_page.evaluate(ROWS_SCRIPT, [1.0, [0, 5], False])
    assert {value for _, row, _, _ in rows for value in row} == {0, 1}
    assert finish(script_page, "noisiestQueries", {"choices": {}, "count": 4}) == []


FAILING_SCRIPT = """async (broken) => {
  const usual = { ...lens.TASKS.allLogSums };
  const Usual = window.Worker;
  if (broken === "join") lens.TASKS.allLogSums.join = () => { throw new Error("the join broke"); };
  else window.Worker = class extends Usual {
    postMessage(message) { super.postMessage({ ...message, task: "none" }); }
  };
  let failures = 0;
  const message = await new Promise((done) => {
    const handlers = {
      progress() {},
      done: () => done("done"),
      failed(words) {
        failures++;
        done(words);
      },
    };
    lens.startJob(image, capture, "allLogSums", { temperature: 2 }, handlers);
  });
  await new Promise((done) => setTimeout(done, 300));
  Object.assign(lens.TASKS.allLogSums, usual);
  window.Worker = Usual;
  return [message, failures];
}"""


@pytest.mark.parametrize(("broken", "words"), [("join", "the join broke"), ("workers", "undefined")])
def test_a_job_that_breaks_says_so_once(script_page, broken, words):
    open_buffer(script_page, pack_capture(spread_out((72, 90), spread=1.0)))
    script_page.evaluate(
        """() => Object.defineProperty(navigator, "hardwareConcurrency", { value: 3, configurable: true })"""
    )
    message, failures = script_page.evaluate(FAILING_SCRIPT, broken)
    assert words in message and failures == 1


def test_without_webassembly_the_rows_are_computed_one_by_one(script_page):
    capture = make_capture()
    open_buffer(script_page, pack_capture(capture))
    options = {"choices": {}, "temperature": 2}
    usual = finish(script_page, "allLogSums", options)
    for missing in (
        "delete globalThis.WebAssembly",
        "globalThis.WebAssembly = { validate: () => false }",
        "globalThis.WebAssembly = { validate: () => true, Module: class { constructor() { throw new Error('no'); } } }",
    ):
        script_page.evaluate(f"() => {{ globalThis.kept = WebAssembly; {missing}; }}")
        try:
            assert script_page.evaluate("lens.rowsInstance()") is None
            plain = finish(script_page, "allLogSums", options)
        finally:
            script_page.evaluate("() => { globalThis.WebAssembly = globalThis.kept; }")
        np.testing.assert_allclose(usual, plain, rtol=1e-12)


def test_two_models_of_one_image_keep_their_own_grids(script_page):
    first = make_capture()
    coarse = make_capture(
        query=first.query[:3, ::2, ::3].copy(),
        key=first.key[:3, ::2, ::3].copy(),
        class_probs=first.class_probs[:, ::2, ::3].copy(),
        gate=None,
        lr_kernel=None,
    )
    open_buffer(script_page, pack_capture(first, coarse, names=("first", "coarse")))
    found = script_page.evaluate(
        """() => image.models.map((model) => {
          const stages = lens.attentionStages(model, 5, lens.effectiveChoices(model, {}));
          return [model.name, model.keyGrid.height, model.keyGrid.width, model.depth, Array.from(stages.retained)];
        })"""
    )
    for capture, (name, *sizes, row) in zip((first, coarse), found, strict=True):
        assert [name, *sizes] == ["first" if capture is first else "coarse", *capture.cells, len(capture.query)]
        np.testing.assert_allclose(row, attention_rows(capture, [5]).retained.ravel(), rtol=1e-9)


def test_the_cells_that_hold_half_are_counted(script_page):
    half = "([row, cell]) => lens.cellsHoldingHalf(Float64Array.from(row), cell)"
    assert script_page.evaluate(half, [[0.1, 0.5, 0.2, 0.2], 0]) == 1
    assert script_page.evaluate(half, [[0.1, 0.5, 0.2, 0.2], 1]) == 2  # of what is left beside itself
    assert script_page.evaluate(half, [[0.05] * 20, 0]) is None
    assert script_page.evaluate(half, [[0.0] * 5, 0]) is None


def test_a_value_at_a_rank_is_that_of_the_sorted_values(script_page):
    rng = np.random.default_rng(1)
    for values in (rng.random(101), rng.integers(0, 4, 64).astype(float), np.zeros(9), np.arange(50.0)[::-1]):
        ranks = [0, len(values) // 3, len(values) - 1]
        found = script_page.evaluate(
            "([values, ranks]) => ranks.map((rank) => lens.ranked(Float32Array.from(values), rank))",
            [values.tolist(), ranks],
        )
        assert found == [float(np.float32(np.sort(values)[rank])) for rank in ranks]


def test_differences_are_coloured_around_nothing(script_page):
    found = script_page.evaluate(
        """() => {
          const range = lens.differenceRange([Float64Array.from([-0.5, 0.25, 0, 0.1])], 100);
          const table = lens.colourTable(new Uint8Array(768).map((_, n) => Math.floor(n / 3)));
          const pixels = new Uint32Array(4);
          lens.paintRow(Float64Array.from([-0.5, 0, 0.5, 0.9]), range, table, pixels);
          const flat = new Uint32Array(2);
          const nothing = lens.differenceRange([new Float64Array(2)], 100);
          lens.paintRow(new Float64Array(2), nothing, table, flat);
          return [range.low, range.high, Array.from(pixels, (pixel) => pixel & 255), Array.from(flat, (n) => n & 255)];
        }"""
    )
    assert found == [-0.5, 0.5, [0, 128, 255, 255], [128, 128]]
