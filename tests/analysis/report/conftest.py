"""One report of a small data set, made once for the tests of this room."""

import pytest
from PIL import Image

from analysis.measure import MeasureOptions
from analysis.report import charts
from analysis.report.measuring import measure_sample
from dnl import load_checkpoint
from tests.analysis.report.small import IMAGES, make_sample, one_process, run, save_model


@pytest.fixture
def in_this_process():
    """Reports measure in the test's own process."""
    with one_process():
        yield


@pytest.fixture
def unrendered(monkeypatch):
    """Charts are drawn and not rendered, which is most of a report's work; `finished` and others have them rendered."""

    def save_empty(figure, file, *, format, **options):
        if format == "svg":
            file.write('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
        else:
            file.write_bytes(b"")

    monkeypatch.setattr(charts, "save_figure", save_empty)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny.safetensors")


@pytest.fixture(scope="session")
def camvid(tmp_path_factory):
    """Three labelled images and one all of whose pixels are ignored."""
    root = tmp_path_factory.mktemp("camvid")
    for folder in ("val", "valannot"):
        (root / folder).mkdir()
    samples = [make_sample(seed) for seed in range(3)] + [make_sample(3, classes=(11,))]
    for name, sample in zip(IMAGES, samples, strict=True):
        Image.fromarray(sample.image).save(root / "val" / f"{name}.png")
        Image.fromarray(sample.labels).save(root / "valannot" / f"{name}.png")
    return root


@pytest.fixture(scope="session")
def finished(checkpoint, camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    with one_process():
        assert run(checkpoint, camvid, out, "--latex", "--markdown") == 0
    return out


@pytest.fixture(scope="session")
def records(checkpoint):
    model, _ = load_checkpoint(checkpoint)
    return [measure_sample(model, make_sample(seed), MeasureOptions()) for seed in range(3)]
