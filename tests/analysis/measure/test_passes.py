"""The passes, plain and compiled, against slow loops and `analysis.noise`; and that both give one report."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import measure, noise
from analysis.capture import Capture
from analysis.measure import image, streaming
from analysis.measure.passes import HOLLOW_THRESHOLDS, Place
from analysis.measure.plain import PlainPasses
from analysis.measure.streaming import SortedCells, StreamedStages, fastest_passes
from analysis.options import MapOptions
from tests.analysis.measure.small import make_capture

IGNORE = 9
DTYPES = (torch.float64, torch.float32)


def compiled_passes():
    pytest.importorskip("numba")
    from analysis.measure.compiled import CompiledPasses

    return CompiledPasses()


@pytest.fixture(params=(PlainPasses, compiled_passes), ids=("plain", "compiled"))
def ways(request):
    return request.param()


def tolerance(dtype: torch.dtype) -> dict:
    return {"rtol": 1e-12, "atol": 1e-13} if dtype == torch.float64 else {"rtol": 3e-6, "atol": 1e-7}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", (0.1, 5, 400))
def test_softmax_is_what_exact_powers_give(ways, dtype, spread):
    """Scores so far apart that most powers are 0 among them; 37 keys of 5 queries."""
    scores = torch.from_numpy(np.random.default_rng(0).normal(0, spread, (37, 5))).to(dtype)
    found = ways.softmax(scores.clone(), np.arange(37), None)
    differences = (scores - scores.amax(0)).double().numpy()
    wanted = np.array([[2.0**score for score in row] for row in differences])
    smallest = torch.finfo(dtype).smallest_normal
    # Relative all the way down; below the normal numbers a few of the smallest steps.
    rtol, atol = (1e-15, 2e-323) if dtype == torch.float64 else (3e-7, 5e-45)
    np.testing.assert_allclose(found.rows.values.double(), wanted, rtol=rtol, atol=atol)
    if spread == 400:
        assert ((wanted > 0) & (wanted < smallest)).any() or dtype == torch.float64
    np.testing.assert_allclose(found.totals, wanted.sum(axis=0), **tolerance(dtype))
    assert (found.rows.values.amax(0) == 1).all()
    assert found.strongest.tolist() == scores.argmax(0).tolist()


def test_of_equal_keys_the_first_cell_is_the_strongest(ways):
    order = np.array([4, 1, 3, 0, 2])
    values = torch.tensor([[2.0, 5.0], [3.0, 5.0], [1.0, 5.0], [3.0, 4.0], [3.0, 5.0]])
    assert ways.finished(values, order, None).strongest.tolist() == [0, 1]
    assert ways.softmax(values.clone(), order, None).strongest.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_gates_are_a_sigmoid_or_the_similarity_itself(ways, dtype):
    rng = np.random.default_rng(1)
    similarity, values = (torch.from_numpy(rng.random((6, 3))).to(dtype) for _ in range(2))
    similarity[0] = torch.tensor([0.0, 1.0, 40.0], dtype=dtype)
    kept = values.clone()
    numbers = [tensor.double().numpy().copy() for tensor in (similarity, values)]
    place = Place(((0, 4), (4, 5)), own=0, first=1)  # a last key without a label
    found = ways.gate(similarity.clone(), values, place, sigmoid=True).values
    np.testing.assert_allclose(found, numbers[1] / (1 + np.exp(-numbers[0])), **tolerance(dtype))
    found = ways.gate(similarity, values, place, sigmoid=False).values
    np.testing.assert_allclose(found, math.prod(numbers), **tolerance(dtype))
    assert torch.equal(values, kept)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", (1, 3, 5, 7))
def test_retention_adds_up_the_neighbours(ways, dtype, kernel):
    rng = np.random.default_rng(2)
    values = torch.from_numpy(rng.random((11, 4))).to(dtype)
    neighbours = rng.integers(0, 11, (8, kernel**2))
    weights = torch.from_numpy(rng.random((8, kernel**2))).to(dtype)
    place = Place(((0, 5), (5, 8)), own=0, first=0)
    found = ways.retain(values, torch.from_numpy(neighbours), weights, torch.empty(8, 4, dtype=dtype), place).values
    wanted = [
        sum(weight * values.double().numpy()[cell] for cell, weight in zip(*key, strict=True))
        for key in zip(neighbours, weights.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(found, np.array(wanted), **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ("any", "few values", "gated", "uniform", "tiny"))
def test_sums_and_scores_of_a_block_are_those_of_its_rows(ways, dtype, kind):
    """Rows given key by key in the order of the cells, against `analysis.noise` on the rows themselves."""
    rng = np.random.default_rng(3)
    labels = rng.choice([0, 1, 3, IGNORE], (13, 21), p=[0.5, 0.3, 0.1, 0.1])
    labels[4, 5] = 7  # a class of one cell
    rows = rng.random((labels.size, labels.size)) ** 6
    rows = {
        "any": rows,
        "few values": (rows * 8).round() / 8,  # ties, and many zeros
        "gated": rows * (labels.ravel() == 1),  # rows that hold nothing of other classes
        "uniform": np.full_like(rows, 0.25),
        "tiny": rows * 1e-30,
    }[kind]
    rows = torch.from_numpy(rows).to(dtype).double().numpy()
    cells = SortedCells.of(noise.query_sets(labels, ignore_index=IGNORE))
    for block in (block for block in cells.blocks(16) if block.run is not None):
        queries, place = cells.order[block.first : block.stop], cells.place_of(block)
        values = torch.from_numpy(rows[queries][:, cells.order].T.copy()).to(dtype)
        kept = values.clone()
        sums = ways.finished(values, cells.order, place).rows.sums
        assert torch.equal(values, kept)
        sets = noise.query_sets(labels, queries, ignore_index=IGNORE)
        scale = 1e30 if kind == "tiny" else 1.0
        for column, threshold in enumerate(HOLLOW_THRESHOLDS):
            found = noise.metrics_from_sums(sets, sums._replace(below=sums.below[:, column]), scale)
            wanted = noise.query_metrics(
                rows[queries] * scale, labels, queries, ignore_index=IGNORE, hollow_threshold=threshold
            )
            for name, ours, theirs in zip(found._fields, found, wanted, strict=True):
                limits = {"atol": 1e-12, "rtol": 1e-12} if dtype == torch.float64 else {"atol": 3e-6, "rtol": 3e-5}
                np.testing.assert_allclose(ours, theirs, **limits, err_msg=name)
        chosen = np.arange(len(queries))[:: max(len(queries) // 5, 1)]
        scores = ways.detection(values, place, chosen)
        wanted = noise.detection_scores(rows[queries][chosen], labels, queries[chosen], ignore_index=IGNORE)
        for name, ours, theirs in zip(scores._fields, scores, wanted, strict=True):
            defined = np.isfinite(theirs)
            np.testing.assert_allclose(ours[defined], theirs[defined], atol=1e-12, err_msg=name)


def test_minus_zero_is_a_zero_like_any(ways):
    """−0 and 0 tie: S = {−0, 0}, D = {0, 1}; of four pairs one is won, none of those with 1, two are halves."""
    values = torch.tensor([[0.5], [-0.0], [0.0], [0.0], [1.0]], dtype=torch.float64)
    scores = ways.detection(values, Place(((0, 3), (3, 5)), own=0, first=0), np.array([0]))
    assert scores.auc.tolist() == [0.25] and scores.average_precision.tolist() == [0.5]


@pytest.mark.parametrize(
    "changes",
    (
        {},
        {"gate": "binary"},
        {"gate": None},
        {"lr_kernel": 5, "lr_weights": "box"},
        {"lr_kernel": None},
        {"precision": "float32"},
        {"temperature": 0.3},
        # Most powers are below the normal numbers. The box adds up values that are not exact: there, ties may break.
        {"temperature": 0.01, "controls": ("uniform", "oracle")},
        {"threads": 3},
        {"attention": True},
    ),
    ids=str,
)
def test_a_report_is_the_same_with_either(monkeypatch, changes):
    compiled = compiled_passes()
    changes = dict(changes)
    threads = changes.pop("threads", 1)
    capture = make_capture(13, 17)
    if changes.pop("attention", False):
        rows = (np.random.default_rng(5).random((221, 221)) * 6).round()  # ties
        given = {"labels": capture.labels, "label_set": capture.label_set}
        capture = Capture.from_attention(rows / rows.sum(axis=1, keepdims=True), 13, 17, **given)
        changes = {"gate": "oracle", "lr_kernel": 3, "lr_weights": "box"}
    options = measure.MeasureOptions(**changes)
    found = []
    for way in (PlainPasses(), compiled):
        monkeypatch.setattr(streaming, "fastest_passes", lambda way=way: way)
        with image.one_thread():
            found.append(image._measure(capture, options, True, lambda share: None, threads))
    plain, other = found
    limits = {"rtol": 1e-5, "atol": 1e-5} if options.precision == "float32" else {"rtol": 1e-11, "atol": 1e-12}
    assert plain.stages.keys() == other.stages.keys()
    for stage in plain.stages:
        for first, second in ((plain.stages, other.stages), (plain.detection, other.detection)):
            for name, ours, theirs in zip(first[stage]._fields, second[stage], first[stage], strict=True):
                np.testing.assert_allclose(ours, theirs, **limits, err_msg=f"{stage} {name}")
        np.testing.assert_allclose(other.hollow_curve[stage], plain.hollow_curve[stage], **limits)
        np.testing.assert_allclose(other.leakage[stage].total, plain.leakage[stage].total, **limits)
    assert plain.distinct_argmax_keys == other.distinct_argmax_keys


def test_equal_values_are_no_hollows_of_their_own_mean(ways):
    """997 keys of one value, whose mean is rounded: none of them is below it, and all are below 1.1 of it."""
    for dtype in DTYPES:
        for value in (0.1, 1 / 3, 1e-5):
            values = torch.full((997, 3), value, dtype=dtype)
            found = ways.finished(values, np.arange(997), Place(((0, 900), (900, 997)), own=0, first=5)).rows.sums
            assert not found.below.any()
            values[7:107] *= 0.9
            found = ways.finished(values, np.arange(997), Place(((0, 900), (900, 997)), own=0, first=5)).rows.sums
            assert found.below[2].tolist() == [0, 0, 0, 0, 99]  # query 2 is one of the hundred itself


def test_compiled_passes_are_taken_where_numba_works(monkeypatch):
    assert type(fastest_passes()) is type(compiled_passes())
    monkeypatch.setattr(streaming.importlib.util, "find_spec", lambda name: None)
    assert isinstance(fastest_passes.__wrapped__(), PlainPasses)


TAKEN = """
import warnings
from analysis.measure.streaming import fastest_passes
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(type(fastest_passes()).__name__, *(one.message for one in caught))
"""


def passes_taken(**environment) -> str:
    """What a new process takes, and its warnings."""
    given = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **environment}
    done = subprocess.run([sys.executable, "-c", TAKEN], env=given, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("broken", ("raise ImportError('needs NumPy 2.2 or less')", ""), ids=("too old", "empty"))
def test_a_numba_that_does_not_work_is_said_and_left_alone(tmp_path, broken):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba/__init__.py").write_text(broken)
    said = passes_taken(PYTHONPATH=os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])]))
    assert said.startswith("PlainPasses Numba is installed and does not work (ImportError: ") and "--upgrade" in said
    assert len(said.splitlines()) == 1


def test_a_numba_that_may_not_compile_is_left_alone():
    """Loops that run as Python would be slower than the plain passes, and have no bits of floats."""
    compiled_passes()
    assert passes_taken(NUMBA_DISABLE_JIT="1").startswith("PlainPasses Numba is installed and does not work")


def test_memory_of_a_block_is_used_again_in_any_mode_and_size():
    capture = make_capture(9, 11)
    cells = SortedCells.of(noise.query_sets(capture.cell_labels, ignore_index=capture.ignore_index))
    stages = StreamedStages(capture, cells, ["raw", "retained"], MapOptions().of(capture), dtype=torch.float64)
    block = next(cells.blocks())
    with torch.inference_mode():
        first = stages.raw(block).rows.values.clone()
    assert torch.equal(stages.raw(block).rows.values, first)
    large = next(block for block in SortedCells.of(noise.query_sets(np.zeros((9, 11), int), ignore_index=9)).blocks(90))
    assert stages._buffer("scores", 99, large.stop - large.first).shape == (99, 90)
