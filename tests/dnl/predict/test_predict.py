"""Predictions as files, against the network asked directly and against scores counted by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dnl.checkpoints import load_checkpoint, save_checkpoint
from dnl.classes import ADE20K, CAMVID, CITYSCAPES, VOC
from dnl.datasets import DatasetError
from dnl.evaluate import main as evaluate
from dnl.inference import Inference, class_probabilities, predict
from dnl.network import ModelConfig, build_model
from dnl.predict import Photos, folder
from dnl.predict.__main__ import main
from dnl.transforms import normalise

ROOT = Path(__file__).parents[3]
SIZE = (40, 52)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A small untrained network for each label set, as files by the label set's name."""
    folder, files = tmp_path_factory.mktemp("checkpoints"), {}
    for label_set in (CAMVID, CITYSCAPES, ADE20K, VOC):
        torch.manual_seed(3)
        model = build_model(ModelConfig("resnet18", 8, label_set.num_classes, gamma_init=0.5)).eval()
        model.label_set = label_set
        files[label_set.name] = folder / f"{label_set.name}.safetensors"
        save_checkpoint(files[label_set.name], model, {})
    return files


@pytest.fixture
def photos(tmp_path):
    """Five photos in a folder and one below it, and a file that is none."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.PNG", "d.bmp", "e.jpg", "more/a.png"):
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no photo")
    return folder


def command(checkpoint, out, *more):
    return main(["--checkpoint", str(checkpoint), "--out", str(out), *map(str, more)])


def pixels(file):
    with Image.open(file) as picture:
        return np.array(picture)


def files_of(folder):
    """All files below a folder, hidden ones too, with their bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_folder_of_photos_becomes_labels_colours_and_overlays(checkpoints, photos, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert command(checkpoints["camvid"], out, "--data", photos) == 0
    said = capsys.readouterr()
    assert "5 images predicted" in said.out and "class indices" in said.out and "mIoU" not in said.out
    assert "no pictures: more, notes.txt" in said.err
    assert {file.split("/")[0] for file in files_of(out)} == {"labels", "colours", "overlays", "prediction.json"}
    model, _ = load_checkpoint(checkpoints["camvid"])
    for file in sorted(photos.glob("?.*")):
        photo = pixels(file)
        expected = predict(model, photo)
        label = pixels(out / "labels" / f"{file.stem}.png")
        colours = pixels(out / "colours" / f"{file.stem}.png")
        assert np.array_equal(label, expected) and len(np.unique(expected)) > 1
        assert np.array_equal(colours, np.array(CAMVID.palette, np.uint8)[expected])
        overlay = pixels(out / "overlays" / f"{file.stem}.png").astype(int)
        assert np.abs(2 * overlay - (photo.astype(int) + colours)).max() <= 1
        with Image.open(out / "labels" / f"{file.stem}.png") as picture:
            assert picture.mode == "P" and picture.getpalette("RGB")[3:6] == list(CAMVID.palette[1])


def test_patterns_find_photos_in_all_folders_and_keep_them_apart(checkpoints, photos, tmp_path):
    out = tmp_path / "out"
    given = (photos / "a.png", photos / "**" / "a.*", photos / "e.jpg")
    assert command(checkpoints["camvid"], out, "--data", *given) == 0
    labels = {path.relative_to(out / "labels").as_posix() for path in (out / "labels").rglob("*.png")}
    assert labels == {"a.png", "more/a.png", "e.png"}


def test_folders_with_brackets_in_their_names_are_meant_by_patterns(photos, tmp_path):
    """Of two folders set[1] and set1, the second is meant by a pattern only where there is no first."""
    for name in ("set1", "set[1]"):
        (tmp_path / name / "more").mkdir(parents=True)
        for place in ("a.png", "more/a.png"):
            shutil.copy(photos / "a.png", tmp_path / name / place)
    assert Photos([f"{tmp_path}/set[1]/*.png"]).files == [tmp_path / "set[1]" / "a.png"]
    assert len(Photos([f"{tmp_path}/set[1]/**/*.png"])) == 2
    assert len(Photos([f"{tmp_path}/set*/*.png"])) == 2
    shutil.rmtree(tmp_path / "set[1]")
    assert Photos([f"{tmp_path}/set[1]/[a-c].png"]).files == [tmp_path / "set1" / "a.png"]


def test_a_pattern_leaves_predictions_out(checkpoints, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    given = ("--data", "**/*.png", "*.jpg")
    for out in ("out", "out", "another"):
        assert command(checkpoints["camvid"], out, *given) == 0
        assert {name for name in files_of(photos / out) if name.startswith("labels")} == {
            *("labels/a.png", "labels/b.png", "labels/e.png", "labels/more/a.png")
        }
    assert "not used, since they are predictions: a.png, b.png, e.png and 9 more" in capsys.readouterr().err
    assert command(checkpoints["camvid"], "third", "--data", "out/*/*.png") == 1
    assert "only predictions fit out/*/*.png" in capsys.readouterr().err


def test_what_is_not_used_of_the_photos_own_values_is_said(checkpoints, tmp_path, capsys):
    rng = np.random.default_rng(2)
    photos = [Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)) for _ in range(3)]
    (tmp_path / "photos").mkdir()
    for number in (1, 2):
        deep = np.asarray(photos[number].convert("L")).astype(np.uint16)
        Image.fromarray(deep * 257).save(tmp_path / "photos" / f"deep{number}.png")
        Image.fromarray(deep).save(tmp_path / "photos" / f"dark{number}.png")
    photos[0].save(tmp_path / "photos" / "moving.webp", save_all=True, append_images=photos[1:])
    assert command(checkpoints["camvid"], tmp_path / "out", "--data", tmp_path / "photos") == 0
    said = capsys.readouterr().err
    assert "dark1.png has 16 bits per channel, of which the upper 8 are used (and 3 more)" in said
    assert "of 65535 and is all but black: spread its values first (and 1 more)" in said
    assert "moving.webp has 3 frames or pages" in said


def test_probabilities_and_confidence_are_those_of_the_views(checkpoints, photos, tmp_path):
    out = tmp_path / "out"
    views = ("--scales", 0.75, 1.5, "--flip", "--window", 48)
    assert command(checkpoints["voc"], out, "--data", photos / "a.png", "--probabilities", "--confidence", *views) == 0
    model, _ = load_checkpoint(checkpoints["voc"])
    with torch.inference_mode():
        batch = normalise(pixels(photos / "a.png"))[None]
        expected = class_probabilities(model, batch, Inference((0.75, 1.5), True, 48))[0].numpy()
    with np.load(out / "probabilities" / "a.npz") as stored:
        assert stored["probabilities"].dtype == np.float16
        assert np.abs(stored["probabilities"] - expected).max() < 1e-3
        assert tuple(stored["class_names"]) == VOC.class_names
    assert np.array_equal(pixels(out / "labels" / "a.png"), expected.argmax(0))
    assert np.abs(pixels(out / "confidence" / "a.png") / 255 - expected.max(0)).max() <= 0.5 / 255 + 1e-5


# --- a data set's split, and the servers' coding ---------------------------------------------------------------------

# The benchmark's label ids of the 19 evaluated classes, in their order.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@pytest.fixture
def cityscapes(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("ulm_000000_000019", "aachen_000001_000019"):
        ids = np.kron(rng.integers(0, 34, (5, 4)), np.ones((8, 13), int)).astype(np.uint8)
        city = name.partition("_")[0]
        for part, end, values in (
            ("leftImg8bit", "leftImg8bit", rng.integers(0, 256, (*ids.shape, 3), np.uint8)),
            ("gtFine", "gtFine_labelIds", ids),
        ):
            folder = tmp_path / "cityscapes" / part / "val" / city
            folder.mkdir(parents=True)
            Image.fromarray(values).save(folder / f"{name}_{end}.png")
    return tmp_path / "cityscapes"


def mean_iou_by_hand(truths, predictions):
    """As the benchmark's script counts: of each evaluated id TP / (TP + FP + FN), pixels of other ids left out."""
    ious = []
    for label_id in LABEL_IDS:
        hit = false = missed = 0
        for truth, prediction in zip(truths, predictions, strict=True):
            for true, said in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
                hit += true == said == label_id
                missed += true == label_id != said
                false += said == label_id != true and true in LABEL_IDS
        if hit + false + missed:
            ious.append(hit / (hit + false + missed))
    return sum(ious) / len(ious)


def test_cityscapes_labels_are_the_servers_and_score_as_evaluate_says(checkpoints, cityscapes, tmp_path, capsys):
    split = ["--dataset", "cityscapes", "--data", str(cityscapes)]
    out = tmp_path / "out"
    assert command(checkpoints["cityscapes"], out, *split) == 0
    printed = capsys.readouterr().out
    assert "Cityscapes' label ids" in printed
    names = ("aachen_000001_000019", "ulm_000000_000019")
    assert sorted(path.name for path in (out / "labels").iterdir()) == [f"{name}_labelIds.png" for name in names]
    truths = [pixels(next(cityscapes.rglob(f"{name}_gtFine_labelIds.png"))) for name in names]
    written = [pixels(out / "labels" / f"{name}_labelIds.png") for name in names]
    assert {int(value) for label in written for value in np.unique(label)} <= set(LABEL_IDS)

    json_file = tmp_path / "scores.json"
    assert evaluate(["--checkpoint", str(checkpoints["cityscapes"]), *split, "--json", str(json_file)]) == 0
    of_classes, accuracy, _ = capsys.readouterr().out.partition("pixel accuracy")
    assert accuracy and of_classes in printed
    assert json.loads(json_file.read_text())["miou"] == pytest.approx(mean_iou_by_hand(truths, written), abs=1e-12)

    assert command(checkpoints["cityscapes"], out, *split) == 0  # of the files that are there
    again = capsys.readouterr().out
    assert "0 images predicted" in again and "2 were there before" in again
    assert again.splitlines()[1:] == printed.splitlines()[1:]


def test_plain_photos_of_cityscapes_go_to_the_server_too(checkpoints, cityscapes, tmp_path, capsys):
    pattern = cityscapes / "leftImg8bit" / "val" / "*" / "*.png"
    out = tmp_path / "out"
    assert command(checkpoints["cityscapes"], out, "--data", pattern, "--labels", "cityscapes") == 0
    assert len(list((out / "labels").glob("*_000019_labelIds.png"))) == 2
    assert (out / "colours" / "ulm" / "ulm_000000_000019_leftImg8bit.png").is_file()


@pytest.mark.parametrize(("labels", "first"), [("ade20k", 1), ("voc", 0)])
def test_ade20k_counts_from_one_and_voc_from_zero(labels, first, checkpoints, photos, tmp_path):
    out = tmp_path / "out"
    assert command(checkpoints[labels], out, "--data", photos / "a.png", "--labels", labels) == 0
    model, _ = load_checkpoint(checkpoints[labels])
    expected = predict(model, pixels(photos / "a.png")).astype(int) + first
    assert np.array_equal(pixels(out / "labels" / "a.png"), expected)
    assert command(checkpoints[labels], out, "--data", photos / "a.png", "--labels", labels) == 0


def test_labels_of_other_classes_are_not_scored_and_it_is_said(checkpoints, camvid, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(checkpoints["voc"], out, "--dataset", "camvid", "--data", camvid) == 0
    said = capsys.readouterr()
    assert "no scores: the checkpoint knows other classes" in said.err and "mIoU" not in said.out
    assert "the labels are read as class indices" in said.err.splitlines()
    assert len(list((out / "labels").iterdir())) == 4


# --- what stops in the middle ----------------------------------------------------------------------------------------


def test_killed_at_any_write_and_run_again_the_files_are_the_same(checkpoints, photos, tmp_path, monkeypatch):
    data = ("--data", photos, "--confidence")
    assert command(checkpoints["camvid"], tmp_path / "whole", *data) == 0
    whole = files_of(tmp_path / "whole")
    really = folder.write_atomically
    for moment in range(0, 20, 2):
        out, count = tmp_path / f"killed {moment}", iter(range(100))

        def dying(path, write, moment=moment, count=count):
            """Ends the process in the midst of a file, as far as the folder can tell."""
            if next(count) < moment:
                really(path, write)
            else:
                (path.parent / f".dnl-{path.name}.tmp").write_bytes(b"half")
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(folder, "write_atomically", dying)
            assert command(checkpoints["camvid"], out, *data) == 130
        left = {name: content for name, content in files_of(out).items() if not name.endswith(".tmp")}
        assert left.items() <= whole.items() and len(left) < len(whole)
        assert command(checkpoints["camvid"], out, *data) == 0
        assert files_of(out) == whole


def test_files_that_are_gone_are_written_again(checkpoints, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(checkpoints["camvid"], out, "--data", photos) == 0
    before = files_of(out)
    (out / "overlays" / "a.png").unlink()
    (out / "labels" / "d.png").unlink()
    assert command(checkpoints["camvid"], out, "--data", photos) == 0
    assert "2 images predicted" in capsys.readouterr().out and files_of(out) == before


def repainted(file, keep_texts):
    """Paint the upper half of a label image, as an editor does, and save it with or without its texts."""
    with Image.open(file) as picture:
        texts = PngInfo()
        for key in ("source", "pixels") if keep_texts else ():
            texts.add_text(key, picture.info[key])
        values = np.array(picture)
        values[: SIZE[0] // 2] = 3
        changed = Image.fromarray(values)
        changed.putpalette(picture.getpalette())
    changed.save(file, pnginfo=texts)


@pytest.mark.parametrize("keep_texts", [True, False])
@pytest.mark.parametrize("kind", ["labels", "colours"])
def test_what_somebody_has_corrected_is_left_and_named(kind, keep_texts, checkpoints, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(checkpoints["camvid"], out, "--data", photos / "a.png", photos / "b.png") == 0
    if kind == "labels":
        repainted(out / "labels" / "b.png", keep_texts)
    else:
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(out / "colours" / "b.png")
        (out / "labels" / "b.png").unlink()
    before = files_of(out)
    capsys.readouterr()
    assert command(checkpoints["camvid"], out, "--data", photos / "a.png", photos / "b.png", photos / "d.bmp") == 1
    said = capsys.readouterr()
    assert "1 image predicted" in said.out and "1 were there before" in said.out
    assert f"image b is left out, for {out / kind / 'b.png'} was changed" in said.err
    assert "move that file away" in said.err
    assert before.items() <= files_of(out).items() and (out / "labels" / "d.png").is_file()


def test_predictions_of_another_folder_are_left_and_named(checkpoints, photos, tmp_path, capsys):
    """Photos of the same name, or one photo that has become another: what is there is not of this one."""
    out = tmp_path / "out"
    assert command(checkpoints["camvid"], out, "--data", photos / "a.png") == 0
    before = files_of(out)
    assert command(checkpoints["camvid"], out, "--data", photos / "more" / "a.png") == 1
    assert "is of another image, or of this one as it was before; move that file away" in capsys.readouterr().err
    assert files_of(out) == before
    (out / "labels" / "a.png").write_bytes(b"notes")
    assert command(checkpoints["camvid"], out, "--data", photos / "a.png") == 1
    assert "is not of this command: it is no PNG file" in capsys.readouterr().err
    assert (out / "labels" / "a.png").read_bytes() == b"notes"


def test_a_corrected_file_is_no_prediction_to_be_scored(checkpoints, camvid, tmp_path, capsys):
    out, given = tmp_path / "out", ("--dataset", "camvid", "--data", camvid)
    assert command(checkpoints["camvid"], out, *given) == 0
    assert "mIoU" in capsys.readouterr().out
    repainted(next((out / "labels").glob("*.png")), keep_texts=True)
    assert command(checkpoints["camvid"], out, *given) == 1
    said = capsys.readouterr()
    assert "mIoU" not in said.out and "so there are no scores" in said.err


def test_a_folder_of_other_predictions_is_left_alone(checkpoints, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(checkpoints["camvid"], out, "--data", photos) == 0
    before = files_of(out)
    assert command(checkpoints["camvid"], out, "--data", photos, "--flip") == 1
    assert "made otherwise (inference is" in capsys.readouterr().err
    assert command(checkpoints["voc"], out, "--data", photos) == 1
    assert files_of(out) == before
    (out / "prediction.json").write_text("[]")
    assert command(checkpoints["camvid"], out, "--data", photos) == 1
    (out / "prediction.json").unlink()
    assert command(checkpoints["camvid"], out, "--data", photos) == 1
    assert "is not of this command; name another --out" in capsys.readouterr().err


def test_a_photo_that_cannot_be_used_is_named_and_the_others_are_made(checkpoints, photos, tmp_path, capsys):
    (photos / "b.png").write_bytes((photos / "b.png").read_bytes()[:900])
    Image.fromarray(np.zeros((8, 60, 3), np.uint8)).save(photos / "c.PNG")
    out = tmp_path / "out"
    assert command(checkpoints["camvid"], out, "--data", photos) == 1
    said = capsys.readouterr().err
    assert "b.png could not be read" in said and "image c cannot be predicted" in said
    assert "2 images could not be predicted" in said
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["a.png", "d.png", "e.png"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "there is no file or folder"),
        (["photos/more/*.jpg"], "no photo fits"),
        (["."], "holds no PNG"),
        ([], "there is nothing to predict"),
        (["photos", "--labels", "cityscapes"], "not of cityscapes"),
        (["photos", "--dataset", "streets", "--data", "a", "b"], "takes one folder"),
        (["photos", "twin"], "would have the same files"),
        (["photos", "--scales", "0"], "each above 0"),
        (["photos", "--split", "val"], "are of a data set"),
        (["photos", "--out", "photos/a.png"], "a file is in its way"),
        (["photos", "--out", "photos/a.png/out"], "a file is in its way"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(given, message, checkpoints, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if given[-1:] == ["twin"]:
        Image.new("RGB", (60, 60)).save(photos / "a.jpg")
        given = given[:1]
    arguments = ["--data", *given] if given else []
    assert command(checkpoints["camvid"], "out", *arguments) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_names_that_the_server_does_not_know_are_refused_at_once(checkpoints, photos, tmp_path, capsys):
    given = ("--data", photos, "--labels", "cityscapes")
    assert command(checkpoints["cityscapes"], tmp_path / "out", *given) == 1
    assert "no name of a Cityscapes image" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_two_processes_share_the_images_and_write_and_score_what_one_does(checkpoints, camvid, tmp_path, capsys):
    given = ("--dataset", "camvid", "--data", camvid)
    assert command(checkpoints["camvid"], tmp_path / "one", *given) == 0
    scores = capsys.readouterr().out.splitlines()[1:]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "dnl.predict"]
    parts = [*start, "--checkpoint", checkpoints["camvid"], "--out", tmp_path / "two", *given]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, parts)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 images predicted") and done.stdout.splitlines()[1:] == scores
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_a_photo_of_a_format_that_cannot_be_read_is_said_before_any_work(photos):
    (photos / "f.gif").write_bytes(b"GIF89a")
    with pytest.raises(DatasetError, match=r"f\.gif is no picture that can be read here"):
        Photos([str(photos)])
    with pytest.raises(DatasetError, match=r"f\.gif cannot be read here"):
        Photos([str(photos / "*.*")])
