import json
import os

import pytest
from PIL import Image

from analysis.report import command as report
from analysis.report.photos import PhotoError, Photos, open_images
from dnl.datasets import DatasetError
from tests.analysis.report.small import Page, make_sample, table

pytestmark = pytest.mark.usefixtures("in_this_process", "unrendered")


def photo_report(checkpoint, photos, out):
    options = ["--dataset", "folder", "--data", str(photos), "--out", str(out), "--workers", "1", "--no-detection"]
    return report.main(["--checkpoint", str(checkpoint), *options])


def test_photos_of_no_use_are_skipped_with_their_reason(checkpoint, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    Image.fromarray(make_sample(0).image[:20, :20]).save(photos / "a-small.png")
    (photos / "b-torn.jpg").write_bytes(b"no photo")
    (photos / "c-folder.webp").mkdir()
    assert photo_report(checkpoint, photos, out) == 1
    error = capsys.readouterr().err
    assert "none of the 3 images can be measured, a-small.png the first (the photo is 20 pixels wide" in error
    Image.fromarray(make_sample(0).image).save(photos / "d-good.png")
    assert photo_report(checkpoint, photos, out) == 0
    summary = json.loads((out / "summary.json").read_text())
    skipped = summary["images_skipped"]
    assert summary["images"] == 1 and list(skipped) == ["a-small.png", "b-torn.jpg", "c-folder.webp"]
    assert "each side needs at least 32" in skipped["a-small.png"] and "cannot be read" in skipped["c-folder.webp"]
    rows = table(out / "per_image.csv")
    assert [row["skipped"] for row in rows if row["skipped"]] == list(skipped.values())
    assert "b-torn.jpg was skipped: the photo is not a readable" in Page((out / "report.html").read_text()).text
    Image.fromarray(make_sample(1).image).save(photos / "a-small.png")  # mended, and measured in the next run
    assert photo_report(checkpoint, photos, out) == 0
    assert json.loads((out / "summary.json").read_text())["images"] == 2


def test_a_photo_whose_name_is_no_text_is_refused_before_any_is_measured(checkpoint, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in (b"a.png", b"\xe9.png"):
        Image.fromarray(make_sample(0).image).save(photos / os.fsdecode(name))
    assert photo_report(checkpoint, photos, out) == 1
    assert "holds bytes that are no text; rename" in capsys.readouterr().err
    assert not out.exists()


def test_photos_come_in_the_order_of_their_names_without_labels(tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / ".hidden.png").write_bytes(b"no photo")
    for name in ("b.jpg", "a.PNG"):
        Image.fromarray(make_sample(0).image).save(tmp_path / name)
    photos = open_images("folder", str(tmp_path), "all")
    assert isinstance(photos, Photos) and photos.label_set is None and len(photos) == 2
    assert [photos[index].name for index in range(2)] == ["a.PNG", "b.jpg"]
    assert photos[0].labels is None and (photos[0].image == make_sample(0).image).all()
    (tmp_path / "a.PNG").write_bytes(b"torn")
    with pytest.raises(PhotoError, match=r"^a.PNG cannot be used: the photo is not a readable PNG"):
        photos[0]


def test_every_file_that_is_not_used_is_named(checkpoint, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for index, name in enumerate(("a.TIF", "b.bmp", "c.png")):
        Image.fromarray(make_sample(index).image).save(photos / name)
    Image.fromarray(make_sample(3).image).save(photos / "d.jfif", "JPEG")
    (photos / "e.gif").write_bytes(b"GIF89a")
    (photos / "notes.txt").write_text("no photo")
    assert photo_report(checkpoint, photos, out) == 0
    assert "not used: notes.txt" in capsys.readouterr().err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["images"] == 4 and list(summary["images_skipped"]) == ["e.gif"]


def test_labels_that_cannot_be_meant_are_said_before_anything_is_measured(checkpoint, tmp_path, capsys):
    for part in ("val", "valannot"):
        (tmp_path / part).mkdir()
    sample = make_sample(0)
    Image.fromarray(sample.image).save(tmp_path / "val" / "a.png")
    Image.fromarray((sample.labels > 2).astype("uint8") * 255).save(tmp_path / "valannot" / "a.png")
    out = tmp_path / "out"
    options = ["--checkpoint", str(checkpoint), "--dataset", "camvid", "--data", str(tmp_path), "--out", str(out)]
    assert report.main(options) == 1
    assert "hold 0 and 255 only, and 255 means ignored: save the object as 1" in capsys.readouterr().err
    assert not out.exists()


def test_labelled_images_of_any_size_are_asked_for(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "MOST_PIXELS", 1000)
    for part in ("val", "valannot"):
        (tmp_path / part).mkdir()
    sample = make_sample(0)
    Image.fromarray(sample.image).save(tmp_path / "val" / "a.png")
    Image.fromarray(sample.labels).save(tmp_path / "valannot" / "a.png")
    options = ["--checkpoint", str(checkpoint), "--dataset", "camvid", "--data", str(tmp_path)]
    options += ["--out", str(tmp_path / "out"), "--workers", "1", "--no-detection"]
    assert report.main(options) == 1
    said = capsys.readouterr().err
    assert "the largest image, 40×72 pixels, takes about" in said and "add --large" in said
    assert report.main([*options, "--large"]) == 0
    said = capsys.readouterr().err
    assert "the largest image, 40×72 pixels, takes about" in said
    assert "the labels are read as class indices" in said.splitlines()


def test_a_folder_without_photos_is_none(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no PNG, JPEG, .* photo, and no images/ folder either"):
        open_images("folder", str(tmp_path), "all")
