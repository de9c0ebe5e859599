import dataclasses
import shutil

import numpy as np
from PIL import Image

from analysis.measure import MeasureOptions
from analysis.report.measuring import Job, content_hash
from tests.analysis.report.small import SIZE, make_sample, run


def test_a_resumed_report_measures_only_what_is_missing(
    finished, checkpoint, camvid, in_this_process, unrendered, tmp_path
):
    out = tmp_path / "report"
    shutil.copytree(finished, out)
    (out / "summary.json").unlink()
    files = sorted((out / "records").glob("*/*.npz"))
    assert len(files) == 4
    kept = [path.stat().st_mtime_ns for path in files]
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-100])  # half-written
    shutil.copyfile(files[3], files[2])  # of another image
    assert run(checkpoint, camvid, out) == 0
    assert (out / "summary.json").read_bytes() == (finished / "summary.json").read_bytes()
    assert files[3].stat().st_mtime_ns == kept[3]
    assert all(path.stat().st_mtime_ns > old for path, old in zip(files[:3], kept[:3], strict=True))


def test_an_unknown_class_value_is_named(checkpoint, in_this_process, tmp_path, capsys):
    for folder in ("val", "valannot"):
        (tmp_path / folder).mkdir()
    sample = make_sample(0)
    Image.fromarray(sample.image).save(tmp_path / "val" / "a.png")
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(tmp_path / "valannot" / "a.png")
    assert run(checkpoint, tmp_path, tmp_path / "out") == 1
    assert "holds the value 77" in capsys.readouterr().err


def test_an_image_too_small_is_named(checkpoint, camvid, in_this_process, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(camvid, data)
    for folder in ("val", "valannot"):
        with Image.open(data / folder / "1.png") as picture:
            picture.crop((0, 0, 20, 20)).save(data / folder / "1.png")
    assert run(checkpoint, data, tmp_path / "out") == 1
    assert "1: the image is 20×20 pixels; each side needs at least 32" in capsys.readouterr().err


def test_jobs_that_differ_in_what_they_measure_keep_their_records_apart(tmp_path):
    job = Job("a.safetensors", "0" * 64, "camvid", "data", "val", 3, MeasureOptions(), True, tmp_path)
    others = [
        dataclasses.replace(job, checkpoint_hash="1" * 64),
        dataclasses.replace(job, split="test"),
        dataclasses.replace(job, options=MeasureOptions(gate="binary")),
        dataclasses.replace(job, detection=False),
    ]
    assert len({job.folder, *(other.folder for other in others)}) == 5
    # Where the files lie and how many images are asked for changes no record.
    assert dataclasses.replace(job, data="elsewhere", count=1, checkpoint="b.safetensors").folder == job.folder
    assert job.path(7) == job.folder / "00007.npz"


def test_the_hash_of_a_sample_is_that_of_its_image_and_labels():
    sample = make_sample(0)
    assert content_hash(sample) == content_hash(sample._replace(name="another"))
    changed = [
        sample._replace(labels=None),
        sample._replace(labels=1 - sample.labels),
        sample._replace(image=sample.image.swapaxes(0, 1)),
    ]
    assert len({content_hash(sample), *map(content_hash, changed)}) == 4
