import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import hook, noise
from analysis.capture import Capture
from analysis.geometry import Grid
from analysis.maps import attention_rows
from analysis.measure import MeasureOptions, image, image_record, measure_capture, metric_map, worst_queries
from analysis.measure.image import boundary_cells
from analysis.measure.passes import HOLLOW_THRESHOLDS
from analysis.options import CONTROLS, STAGES, own_stages
from dnl.classes import CAMVID
from tests.analysis.measure.small import make_capture

IGNORE = CAMVID.ignore_index
DEFAULTS = MeasureOptions()


def make_map_capture(attention, labels, **options):
    return Capture.from_attention(attention, *labels.shape, labels=labels, label_set=CAMVID, **options)


def plain_rows(capture, options):
    """Every stage and control, N×h×w, by the functions that compute a few rows at a time."""
    common = {"lr_kernel": options.lr_kernel, "temperature": options.temperature, "lr_weights": options.lr_weights}
    rows = attention_rows(capture, gate=options.gate, **common)._asdict()
    if options.gate is None or (options.gate == "model" and capture.gate is None):
        del rows["rectified"]
    rows["uniform"] = np.full(rows["raw"].shape, 1 / len(rows["raw"]))
    kernel = capture.lr_kernel if options.lr_kernel == "model" else options.lr_kernel
    if kernel is None:
        del rows["retained"]
    else:
        rows["oracle"] = attention_rows(capture, gate="oracle", **common).retained
        rows["box"] = attention_rows(capture, gate=options.gate, **{**common, "lr_weights": "box"}).retained
    return rows


def assert_measured_as_plain_rows(capture, options=DEFAULTS):
    report = measure_capture(capture, options)
    labels, every = report.labels, np.arange(report.labels.size)
    expected = plain_rows(capture, options)
    assert set(report.stages) == set(expected)
    for stage, rows in expected.items():
        metrics = noise.query_metrics(rows, labels, every, ignore_index=IGNORE)
        for name, actual, wanted in zip(metrics._fields, report.stages[stage], metrics, strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-9, atol=1e-9, err_msg=f"{stage} {name}")
        scores = noise.detection_scores(rows, labels, every, ignore_index=IGNORE)
        for actual, wanted in zip(report.detection[stage], scores, strict=True):
            np.testing.assert_allclose(actual, wanted, atol=1e-9, err_msg=stage)
        needed = [expected[name] for name in (*own_stages(expected), stage)]
        values = [noise.query_metrics(one, labels, every, ignore_index=IGNORE).interclass_noise for one in needed]
        shared = np.flatnonzero(np.isfinite(values).all(axis=0))
        leakage = noise.leakage(rows[shared], labels, shared, num_classes=11, ignore_index=IGNORE)
        np.testing.assert_allclose(report.leakage[stage].total, leakage.total, atol=1e-9)
        assert (report.leakage[stage].queries == leakage.queries).all()
    return report


# --- against the plain way -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["sigmoid", "binary", "similarity", "oracle", None])
def test_every_stage_and_control_is_measured_as_its_rows_say(gate):
    report = assert_measured_as_plain_rows(make_capture(), MeasureOptions(gate=gate))
    there = STAGES if gate else ("raw", "retained")  # without GR nothing is rectified
    assert tuple(report.stages) == (*there, *CONTROLS)


def test_other_windows_temperatures_and_weights():
    capture = make_capture(5, 9, seed=1)
    assert_measured_as_plain_rows(capture, MeasureOptions(lr_kernel=5, temperature=2.0))
    assert_measured_as_plain_rows(capture, MeasureOptions(lr_weights="box"))
    report = assert_measured_as_plain_rows(capture, MeasureOptions(gate=None, lr_kernel=None))
    assert tuple(report.stages) == ("raw", "uniform")  # without GR and LR there is one map


def test_classes_larger_than_a_block_of_queries():
    assert_measured_as_plain_rows(make_capture(13, 17, seed=2))


def test_a_finished_map_with_many_ties_and_empty_rows():
    capture = make_capture()
    rng = np.random.default_rng(3)
    attention = rng.dirichlet(np.full(84, 0.1), 84).round(2).astype(np.float32)
    attention[5] = 0
    mapped = make_map_capture(attention, capture.labels, class_probs=capture.class_probs, gate="binary")
    report = assert_measured_as_plain_rows(mapped)
    assert report.stages["raw"].emptied[5] == (capture.labels.flat[5] != IGNORE)
    assert report.distinct_argmax_keys == noise.distinct_argmax_keys(attention)


def test_no_key_is_the_strongest_of_an_emptied_row():
    """All queries look at cell 3 but the first ten, which look at nothing."""
    capture = make_capture()
    attention = np.zeros((84, 84), np.float32)
    attention[10:, 3] = 1
    report = measure_capture(make_map_capture(attention, capture.labels), MeasureOptions(gate=None, lr_kernel=None))
    assert report.distinct_argmax_keys == 1
    nothing = make_map_capture(0 * attention, capture.labels)
    assert measure_capture(nothing, MeasureOptions(gate=None, lr_kernel=None)).distinct_argmax_keys == 0


def test_a_finished_map_under_gr_and_the_box():
    capture = make_capture()
    attention = np.random.default_rng(4).random((84, 84)).astype(np.float32) ** 3
    mapped = make_map_capture(attention, capture.labels, class_probs=capture.class_probs, gate="sigmoid", lr_kernel=3)
    report = assert_measured_as_plain_rows(mapped)
    assert report.stages["box"] is report.stages["retained"]


def test_keys_that_tie_go_on_to_tie_under_the_box():
    capture = make_capture()
    labels, rng = capture.labels, np.random.default_rng(6)
    attention = rng.choice(np.float32([0, 0.1, 0.2, 0.7]), (84, 84))
    exact = (attention.astype(np.float64) * 2**27).astype(np.int64)
    assert (exact / 2**27 == attention).all()
    report = measure_capture(make_map_capture(attention, labels, lr_kernel=3))
    padded = np.pad(exact.reshape(84, 7, 12), ((0, 0), (1, 1), (1, 1)))
    windows = sum(padded[:, dy : dy + 7, dx : dx + 12] for dy, dx in np.ndindex(3, 3)).reshape(84, 84)
    expected = noise.detection_scores(windows, labels, np.arange(84), ignore_index=IGNORE)
    for actual, wanted in zip(report.detection["retained"], expected, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-12)
    kept = np.where(labels.ravel() == IGNORE, 0, windows).sum(axis=1) - windows[np.arange(84), np.arange(84)]
    labelled = labels.ravel() != IGNORE
    np.testing.assert_allclose(report.stages["retained"].kept_mass[labelled], kept[labelled] / 9 / 2**27, rtol=1e-12)


@pytest.mark.parametrize("head", ["mean", 1])
def test_a_transformer_s_attention_under_gr_and_lr_that_it_never_had(head):
    torch.manual_seed(0)
    block = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    plain = make_capture(5, 9)
    with hook(block, "self_attn") as caught:
        block(torch.randn(1, 1 + 45, 16))
    described = {"class_probs": plain.class_probs, "labels": plain.labels, "label_set": CAMVID}
    capture = caught.capture(5, 9, head=head, class_tokens=1, **described)
    assert_measured_as_plain_rows(capture, MeasureOptions(gate="sigmoid", lr_kernel=3, lr_weights="box"))
    if head == 1:
        assert_measured_as_plain_rows(capture, MeasureOptions(gate="binary", lr_kernel=3, lr_weights="learnt"))


def test_single_precision_on_a_large_map_against_plain_rows():
    """Some queries of a map of 32×64 cells by the functions in double precision: 1e-5 apart at most."""
    capture = make_capture(32, 64, seed=7)
    report = measure_capture(capture, MeasureOptions(precision="float32"), detection=False)
    queries = np.arange(0, 2048, 37)
    rows = attention_rows(capture, queries)._asdict()
    rows["oracle"] = attention_rows(capture, queries, gate="oracle").retained
    rows["box"] = attention_rows(capture, queries, lr_weights="box").retained
    for stage, of_stage in rows.items():
        expected = noise.query_metrics(of_stage, report.labels, queries, ignore_index=IGNORE)
        for name in noise.METRICS:
            actual, wanted = getattr(report.stages[stage], name)[queries], getattr(expected, name)
            np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5, err_msg=f"{stage} {name}")


def test_single_precision_against_double():
    capture = make_capture(9, 14, seed=4)
    double, single = (measure_capture(capture, MeasureOptions(precision=p)) for p in ("float64", "float32"))
    for stage, metrics in double.stages.items():
        for name in noise.METRICS:
            actual, wanted = getattr(single.stages[stage], name), getattr(metrics, name)
            np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5, err_msg=f"{stage} {name}")
        np.testing.assert_allclose(single.detection[stage].auc, double.detection[stage].auc, atol=1e-3)
        assert (single.stages[stage].emptied == metrics.emptied).all()
    small = measure_capture(capture).stages["raw"].kept_mass
    assert np.array_equal(small, double.stages["raw"].kept_mass, equal_nan=True)


def test_scores_too_far_apart_for_single_precision_are_computed_in_double(monkeypatch):
    """Scores of some hundred: in float32 the weak keys are 0 alike, and whole classes have no mass."""
    monkeypatch.setattr(image, "DOUBLE_PRECISION_CELLS", 100)
    usual = make_capture(9, 14, seed=4)
    assert measure_capture(usual).options.precision == "float32"
    strong = make_capture(9, 14, seed=4, query=60 * usual.query)
    double, single, found = (
        measure_capture(strong, MeasureOptions(precision=precision)) for precision in ("float64", "float32", "auto")
    )
    assert found.options.precision == "float64"
    for stage, metrics in double.stages.items():
        for name in noise.METRICS:
            np.testing.assert_array_equal(getattr(found.stages[stage], name), getattr(metrics, name))
        np.testing.assert_array_equal(found.detection[stage].auc, double.detection[stage].auc)
    assert np.nanmax(np.abs(single.detection["raw"].auc - double.detection["raw"].auc)) > 0.01


STATUS = Path("/proc/self/status")
MEMORY_CODE = """
import re
from pathlib import Path
import torch
from analysis.measure import MeasureOptions, measure_capture
from tests.analysis.measure.test_image import STATUS, make_capture

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", STATUS.read_text())[1])

torch.set_num_threads(1)
options = MeasureOptions(precision="float32")
measure_capture(make_capture(8, 16), options)
capture, peaks = make_capture(64, 64), [peak()]
measure_capture(capture, options)
peaks.append(peak())
one_map = torch.ones(64 * 64, 64 * 64)
peaks.append(peak())
print(*peaks)
"""


@pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read from /proc")
def test_memory_stays_below_that_of_one_whole_map():
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", MEMORY_CODE], cwd=root, capture_output=True, text=True, check=True)
    before, measured, with_a_map = map(int, done.stdout.split())
    assert measured - before < 45e6 < 60e6 < with_a_map - before  # a map of 4096 cells is 67 MB


def test_what_is_known_of_the_whole_image():
    capture = make_capture()
    report = measure_capture(capture)
    raw = attention_rows(capture).raw
    pairs = noise.query_pairs(84)
    expected = noise.query_dependence(raw[pairs[:, 0]], raw[pairs[:, 1]])
    assert report.query_dependence == pytest.approx(expected, rel=1e-12)
    assert report.distinct_argmax_keys == noise.distinct_argmax_keys(raw)
    assert report.cells == (7, 12) and report.num_classes == 11 and report.ignore_index == IGNORE
    right = capture.class_probs.argmax(axis=0) == capture.cell_labels
    assert (report.gr_right == right.ravel()).all()
    for at, threshold in enumerate(HOLLOW_THRESHOLDS):
        rows = attention_rows(capture).retained
        metrics = noise.query_metrics(
            rows, report.labels, np.arange(84), ignore_index=IGNORE, hollow_threshold=threshold
        )
        np.testing.assert_allclose(report.hollow_curve["retained"][:, at], metrics.hollow_fraction, rtol=1e-6)


# --- identities ------------------------------------------------------------------------------------------------------


def test_uniform_attention_gets_exactly_chance_and_no_intraclass_noise():
    capture = make_capture(gate=None, lr_kernel=None)
    flat = dataclasses.replace(capture, query=np.zeros_like(capture.query))
    report = measure_capture(flat)
    for stage in ("raw", "uniform"):
        metrics = report.stages[stage]
        assert np.array_equal(metrics.interclass_noise, metrics.chance, equal_nan=True)
        assert (metrics.intraclass_noise[np.isfinite(metrics.intraclass_noise)] == 0).all()
        assert (metrics.hollow_fraction[np.isfinite(metrics.hollow_fraction)] == 0).all()
        auc = report.detection[stage].auc
        assert (auc[np.isfinite(auc)] == 0.5).all() and np.isfinite(auc).any()
    for actual, wanted in zip(report.stages["raw"][3:], report.stages["uniform"][3:], strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12)


def test_a_perfect_block_map_has_no_interclass_noise():
    labels = np.array([[0, 0, 0, 1], [1, 1, 3, 3]])
    attention = (labels.ravel()[:, None] == labels.ravel()).astype(np.float32)
    report = measure_capture(make_map_capture(attention, labels))
    raw, scores = report.stages["raw"], report.detection["raw"]
    assert (raw.interclass_noise == 0).all() and (raw.interclass_mass == 0).all()
    several = labels.ravel() != 3
    assert (scores.auc[several] == 1).all() and (scores.average_precision[several] == 1).all()
    assert (np.diag(report.leakage["raw"].matrix())[[0, 1, 3]] == 1).all()


def test_under_the_oracle_nothing_but_what_lr_leaks_is_left():
    report = measure_capture(make_capture(), MeasureOptions(gate="oracle"))
    noise_left = report.stages["rectified"].interclass_noise
    assert (noise_left[np.isfinite(noise_left)] == 0).all() and np.nanmean(report.stages["oracle"].interclass_noise) > 0


def test_ignored_cells_change_nothing():
    labels = make_capture().labels
    rng = np.random.default_rng(5)
    attention = rng.random((84, 84)).astype(np.float32)
    disturbed = attention.copy()
    disturbed[:, labels.ravel() == IGNORE] = 7
    one, other = (measure_capture(make_map_capture(each, labels)) for each in (attention, disturbed))
    for first, second in zip(one.stages["raw"], other.stages["raw"], strict=True):
        np.testing.assert_array_equal(first, second)
    for first, second in zip(one.detection["raw"], other.detection["raw"], strict=True):
        np.testing.assert_array_equal(first, second)


def test_inputs_stay_as_they_are():
    capture = make_capture()
    before = [getattr(capture, name).copy() for name in ("query", "key", "class_probs", "labels")]
    measure_capture(capture)
    after = [getattr(capture, name) for name in ("query", "key", "class_probs", "labels")]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    attention = np.random.default_rng(0).random((84, 84)).astype(np.float32)
    kept = attention.copy()
    measure_capture(make_map_capture(attention, capture.labels))
    assert np.array_equal(attention, kept)


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_against_the_prediction_there_is_no_oracle_and_no_need_of_labels():
    capture = make_capture()
    photo = dataclasses.replace(capture, labels=None, prediction=capture.labels)
    report = measure_capture(photo, MeasureOptions(labels="prediction"))
    assert report.label_source == "prediction" and tuple(report.stages) == (*STAGES, "uniform", "box")
    truth = measure_capture(capture)
    assert truth.label_source == "ground truth"
    assert np.array_equal(
        report.stages["retained"].interclass_noise, truth.stages["retained"].interclass_noise, equal_nan=True
    )


def test_fewer_controls_and_no_detection():
    report = measure_capture(make_capture(), MeasureOptions(controls=("box",)), detection=False)
    assert tuple(report.stages) == (*STAGES, "box")
    assert report.detection == {} and report.detection_queries.size == 0 and not report.detection_sampled


def test_large_maps_have_a_seeded_sample_of_detection_queries(monkeypatch):
    monkeypatch.setattr("analysis.measure.image.EXACT_DETECTION_CELLS", 83)
    monkeypatch.setattr("analysis.measure.image.DETECTION_SAMPLE", 20)
    capture = make_capture()
    sample = measure_capture(capture)
    monkeypatch.setattr("analysis.measure.image.EXACT_DETECTION_CELLS", 84)
    exact = measure_capture(capture)
    assert sample.detection_sampled and not exact.detection_sampled
    cells = sample.detection_queries
    assert cells.size == 20 == np.unique(cells).size and (np.diff(cells) > 0).all()
    assert (capture.labels.ravel()[cells] != IGNORE).all()
    assert np.array_equal(cells, np.sort(cells)) and np.array_equal(exact.detection_queries, np.arange(84))
    for stage, scores in sample.detection.items():
        for few, all_of_them in zip(scores, exact.detection[stage], strict=True):
            assert np.array_equal(few, all_of_them[cells], equal_nan=True)


def test_progress_runs_to_one_and_may_cancel():
    shares = []
    measure_capture(make_capture(), progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) > 3

    def cancel(share):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        measure_capture(make_capture(), progress=cancel)


def test_an_image_of_one_class_is_a_report_without_interclass_noise():
    capture = make_capture()
    report = measure_capture(dataclasses.replace(capture, labels=np.full((7, 12), 3)))
    for metrics in report.stages.values():
        assert np.isnan(metrics.interclass_noise).all() and np.isnan(metrics.chance).all()
        assert np.isfinite(metrics.intraclass_noise).all() and np.isfinite(metrics.kept_mass).all()
    assert all(np.isnan(scores.auc).all() for scores in report.detection.values())
    assert not report.boundary.any() and worst_queries(report, "raw").size == 0


def test_what_does_not_fit_is_refused_in_one_sentence():
    capture = make_capture()
    query = capture.query.copy()
    query[0, 0, 0] = np.nan
    unknown = capture.class_probs.copy()
    unknown[2, 3, 4] = np.nan
    image = np.zeros((20, 30, 3), np.uint8)
    attention = np.full((84, 84), 0.1, np.float32)
    mapped = make_map_capture(attention, capture.labels)
    for bad, expected in [
        (dataclasses.replace(capture, labels=None), "has no labels"),
        (dataclasses.replace(capture, image=image, labels=np.zeros((19, 30), int)), "has 19×30 labels"),
        (dataclasses.replace(capture, labels=np.zeros((12, 7), int)), "has 12×7 labels for a map of 7×12 cells"),
        (dataclasses.replace(capture, labels=np.full((7, 12), IGNORE)), "every cell without a label"),
        (dataclasses.replace(capture, labels=np.full((7, 12), 40)), "unknown class 40"),
        (dataclasses.replace(capture, query=query), "'image' cannot be measured: query holds 1 of"),
        (dataclasses.replace(capture, key=query), "'image' cannot be measured: key holds 1 of"),
        (dataclasses.replace(capture, query=1e20 * capture.query, key=1e20 * capture.key), "query and key can reach"),
        (dataclasses.replace(capture, class_probs=None), "needs class_probs"),
        (dataclasses.replace(capture, class_probs=unknown), "class_probs of 'image' hold negative or non-finite"),
        (dataclasses.replace(mapped, attention=attention[:, :80]), "is 84×80; 7×12 cells need 84×84"),
        (dataclasses.replace(mapped, attention=-attention), "negative or non-finite"),
        (dataclasses.replace(mapped, lr_kernel=3, lr_weights="learnt"), "needs query and key"),
    ]:
        with pytest.raises(ValueError, match=expected):
            measure_capture(bad)
    for options, expected in [
        (MeasureOptions(labels="guess"), "labels is 'guess'"),
        (MeasureOptions(labels="prediction"), "has no labels"),
        (MeasureOptions(gate="soft"), "gate is 'soft'"),
        (MeasureOptions(lr_kernel=4), "lr_kernel is 4"),
        (MeasureOptions(temperature=0), "temperature is 0"),
        (MeasureOptions(temperature=1e-39), "cannot be measured at temperature 1e-39: the scores .* can reach"),
        (MeasureOptions(precision="float16"), "precision is 'float16'"),
        (MeasureOptions(controls=("mirror",)), "no control 'mirror'"),
    ]:
        with pytest.raises(ValueError, match=expected):
            measure_capture(capture, options)


# --- reading a report ------------------------------------------------------------------------------------------------


def test_boundary_cells_on_paper():
    labels = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [IGNORE, 0, 0, 0], [2, IGNORE, 0, 0]])
    expected = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]], bool)
    # Cell (3, 0) touches (2, 1), which has another label.
    expected[3, 0] = expected[2, 1] = True
    assert (boundary_cells(labels, IGNORE) == expected).all()


def test_noise_map_and_worst_queries():
    report = measure_capture(make_capture())
    values = report.stages["raw"].interclass_noise
    assert np.array_equal(metric_map(report, "raw", "interclass_noise").ravel(), values, equal_nan=True)
    assert metric_map(report, "raw", "kept_mass").shape == (7, 12)
    worst = worst_queries(report, "raw", count=5)
    assert worst.dtype == np.int64
    expected = sorted((cell for cell in range(84) if np.isfinite(values[cell])), key=lambda cell: (-values[cell], cell))
    assert worst.tolist() == expected[:5]
    assert (
        worst_queries(report, "raw", "hollow_fraction", 1000).size
        == np.isfinite(report.stages["raw"].hollow_fraction).sum()
    )


# --- keys that are other cells than the queries ----------------------------------------------------------------------


def make_pooled(*, seed=0, **changes):
    """A photo of 28×48 pixels, 7×12 queries and 3×5 keys that are blocks of it."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.choice([0, 1, 3, IGNORE], (7, 6), p=[0.4, 0.3, 0.2, 0.1]), np.ones((4, 8), int))
    labels[:4, :4] = 8
    parts = {
        "query": rng.normal(size=(6, 7, 12)).astype(np.float32),
        "key": rng.normal(size=(6, 3, 5)).astype(np.float32),
        "key_size": (3, 5),
        "placement": "blocks",
        "image": np.zeros((28, 48, 3), np.uint8),
        "labels": labels,
        "label_set": CAMVID,
        "name": "pooled",
    }
    return Capture(**{**parts, **changes})


def assert_measured_as_rows_over_keys(capture, options=DEFAULTS):
    """All that a report says of a capture, out of whole rows by the functions that take them."""
    report = measure_capture(capture, options)
    truth = options.labels == "truth"
    labels = (capture.cell_labels if truth else capture.cell_prediction).ravel()
    pixels = capture.labels if truth else capture.prediction
    key_labels = Grid(pixels.shape, capture.key_size, capture.placement, capture.crop).votes(pixels, 11, IGNORE)
    assert (report.labels.ravel() == labels).all() and (report.key_labels == key_labels).all()
    every, apart = np.arange(labels.size), {"ignore_index": IGNORE, "query_labels": labels}
    rows = attention_rows(capture, **options.as_dict())._asdict()
    rows["uniform"] = np.full(rows["raw"].shape, 1 / key_labels.size)
    del rows["rectified"]  # there is no GR
    if options.lr_kernel in (None, "model"):
        del rows["retained"]
    else:
        rows["box"] = rows["retained"]
    assert set(report.stages) == set(rows)
    for stage, of_stage in rows.items():
        metrics = noise.query_metrics(of_stage, key_labels, every, **apart)
        for name, actual, wanted in zip(metrics._fields, report.stages[stage], metrics, strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-9, err_msg=f"{stage} {name}")
        scores = noise.detection_scores(of_stage, key_labels, every, **apart)
        for actual, wanted in zip(report.detection[stage], scores, strict=True):
            np.testing.assert_allclose(actual, wanted, atol=1e-12, err_msg=stage)
        for at, threshold in enumerate(HOLLOW_THRESHOLDS):
            hollow = noise.query_metrics(of_stage, key_labels, every, hollow_threshold=threshold, **apart)
            np.testing.assert_allclose(report.hollow_curve[stage][:, at], hollow.hollow_fraction, rtol=1e-6)
        needed = [rows[name] for name in (*own_stages(rows), stage)]
        values = [noise.query_metrics(one, key_labels, every, **apart).interclass_noise for one in needed]
        shared = np.flatnonzero(np.isfinite(values).all(axis=0))
        leakage = noise.leakage(of_stage[shared], key_labels, shared, num_classes=11, **apart)
        np.testing.assert_allclose(report.leakage[stage].total, leakage.total, atol=1e-12)
        assert (report.leakage[stage].queries == leakage.queries).all()
    raw, pairs = rows["raw"], noise.query_pairs(labels.size)
    expected = noise.query_dependence(raw[pairs[:, 0]], raw[pairs[:, 1]])
    assert report.query_dependence == pytest.approx(expected, rel=1e-12)
    assert report.distinct_argmax_keys == noise.distinct_argmax_keys(raw)
    return report


def test_other_keys_are_measured_as_their_rows_say():
    capture = make_pooled()
    report = assert_measured_as_rows_over_keys(capture)
    assert report.cells == (7, 12) and report.key_labels.shape == (3, 5) and report.gr_right is None
    assert tuple(report.stages) == ("raw", "uniform") and report.options.precision == "float64"
    assert (report.boundary == boundary_cells(capture.cell_labels, IGNORE).ravel()).all()
    assert metric_map(report, "raw", "interclass_noise").shape == (7, 12)
    worst = worst_queries(report, "raw", count=3)
    assert report.stages["raw"].interclass_noise[worst[0]] == np.nanmax(report.stages["raw"].interclass_noise)


def test_the_box_works_on_the_grid_of_the_keys_and_the_prediction_votes_there_too():
    prediction = np.random.default_rng(4).choice([0, 1, 5], (28, 48))
    capture = make_pooled(prediction=prediction, crop=(4, 8, 20, 36))
    options = MeasureOptions(lr_kernel=3, lr_weights="box", temperature=0.5)
    report = assert_measured_as_rows_over_keys(capture, options)
    assert tuple(report.stages) == ("raw", "retained", "uniform", "box")  # the oracle is a gate
    predicted = dataclasses.replace(options, labels="prediction")
    assert (assert_measured_as_rows_over_keys(capture, predicted).key_labels != report.key_labels).any()


def test_a_finished_map_of_more_queries_than_a_block_over_other_keys():
    attention = np.random.default_rng(5).dirichlet(np.full(15, 0.1), 84).round(2).astype(np.float32)
    attention[5] = 0
    capture = make_pooled(query=None, key=None, attention=attention, attention_size=(7, 12))
    report = assert_measured_as_rows_over_keys(capture)
    assert report.stages["raw"].emptied[5] == (capture.cell_labels.flat[5] != IGNORE)


def test_uniform_attention_over_other_keys_gets_exactly_chance():
    metrics = measure_capture(make_pooled()).stages["uniform"]
    assert np.array_equal(metrics.interclass_noise, metrics.chance, equal_nan=True)
    assert (metrics.intraclass_noise[np.isfinite(metrics.intraclass_noise)] == 0).all()


def test_a_class_that_keys_alone_have_keeps_its_place_in_the_record():
    # Queries are pixels of one class; half of the keys are of another.
    labels = np.zeros((2, 4), int)
    labels[:, 2:] = 7
    capture = Capture(
        None,
        None,
        labels=labels,
        label_set=CAMVID,
        attention=np.full((1, 8), 1 / 8, np.float32),
        attention_size=(1, 1),
        key_size=(2, 4),
        query_names=("class token",),
        query_labels=np.array([0]),
    )
    report = measure_capture(capture)
    record = image_record(report)
    assert record.classes.tolist() == [0, 7] and record.cells.tolist() == [1, 0]
    assert record.leakage_totals[0].tolist() == [[0.5, 0.5], [0, 0]]
    assert report.stages["raw"].interclass_noise.tolist() == report.stages["raw"].chance.tolist() == [0.5]
    # There is no pair of queries, and no neighbour of a query without a place.
    assert np.isnan(report.query_dependence) and not report.boundary.any() and report.cells == (1, 1)


def test_queries_without_a_place_are_measured_by_what_they_look_for():
    placed = make_pooled()
    names = tuple(f"object query {number}" for number in range(84))
    objects = make_pooled(
        query=placed.query.reshape(6, 1, 84), query_names=names, query_labels=placed.cell_labels.ravel(), name="objects"
    )
    report, expected = assert_measured_as_rows_over_keys(objects), measure_capture(placed)
    for actual, wanted in zip(report.stages["raw"], expected.stages["raw"], strict=True):
        np.testing.assert_array_equal(actual, wanted)
    assert report.cells == (1, 84) and not report.boundary.any()
    assert metric_map(report, "raw", "interclass_noise").shape == (1, 84)
    assert worst_queries(report, "raw").tolist() == worst_queries(expected, "raw").tolist()


def test_what_other_keys_cannot_be_measured_by_is_said():
    with pytest.raises(ValueError, match=r"no query of 'pooled' has a class; noise needs the classes of queries"):
        measure_capture(make_pooled(query=np.zeros((6, 1, 2), np.float32), query_names=("a", "b")))
    with pytest.raises(ValueError, match="list of the queries' classes of 'pooled' holds the unknown class 12"):
        measure_capture(
            make_pooled(query=np.zeros((6, 1, 2), np.float32), query_names=("a", "b"), query_labels=np.array([0, 12]))
        )
    with pytest.raises(ValueError, match="gate 'binary' compares cells and needs keys that are the queries' cells"):
        measure_capture(make_pooled(), MeasureOptions(gate="binary"))
    few = make_pooled(query=np.zeros((6, 1, 1), np.float32), key_size=(30, 5), key=np.zeros((6, 30, 5), np.float32))
    with pytest.raises(ValueError, match="has 28×48 labels for a map of 30×5 cells; give at least one label a cell"):
        measure_capture(few)
    attention = np.ones((84, 84), np.float32)
    with pytest.raises(ValueError, match="is 84×84; 7×12 cells and 3×5 keys need 84×15"):
        measure_capture(make_pooled(query=None, key=None, attention=attention, attention_size=(7, 12)))
    labels = np.full((28, 48), IGNORE)
    labels[0, 0] = 1
    with pytest.raises(ValueError, match="leaves every key without a label; noise needs labelled keys"):
        measure_capture(make_pooled(query=np.zeros((6, 28, 48), np.float32), labels=labels))


def test_work_over_other_keys_reports_its_progress_and_may_be_cancelled():
    shares = []
    measure_capture(make_pooled(), progress=shares.append)
    assert shares == [64 / 84, 1]

    def cancel(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_capture(make_pooled(), progress=cancel)
