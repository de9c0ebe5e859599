import dataclasses

import pytest
import safetensors.torch
import torch
from PIL import Image

from analysis import capture_attention
from analysis.card import command
from analysis.card import measuring as card
from dnl import load_checkpoint
from dnl.checkpoints import read_card, save_checkpoint
from dnl.classes import CAMVID
from dnl.evaluate import REPLACEMENTS
from tests.analysis.card.small import CONFIG, make_model, make_samples


@pytest.fixture
def camvid(tmp_path):
    for folder in ("val", "valannot"):
        (tmp_path / "camvid" / folder).mkdir(parents=True)
    for sample in make_samples():
        Image.fromarray(sample.image).save(tmp_path / "camvid" / "val" / f"{sample.name}.png")
        Image.fromarray(sample.labels).save(tmp_path / "camvid" / "valannot" / f"{sample.name}.png")
    return tmp_path / "camvid"


@pytest.mark.slow
def test_the_command_writes_the_card_and_leaves_the_weights(tmp_path, camvid, capsys):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, make_model(), {"name": "tiny", "metrics": {"note": "kept"}})
    weights = safetensors.torch.load_file(path)
    assert command.main(["--checkpoint", str(path), "--data", str(camvid), "--streets", "1"]) == 0
    after = safetensors.torch.load_file(path)
    assert weights.keys() == after.keys()
    assert all(w.dtype == after[k].dtype and torch.equal(w, after[k]) for k, w in weights.items())
    written = read_card(path)
    assert written["name"] == "tiny" and written["metrics"]["note"] == "kept"
    metrics = written["metrics"]
    model, _ = load_checkpoint(path)
    images = [card.measure_image(capture_attention(model, s.image, labels=s.labels)) for s in make_samples()]
    expected = card.attention_metrics(images, CAMVID.class_names)
    assert metrics["attention"]["raw"]["interclass_noise"]["micro"] == pytest.approx(
        expected["attention"]["raw"]["interclass_noise"]["micro"], abs=1e-5
    )
    assert metrics["camvid_val"]["images"] == 3 and set(metrics["camvid_val"]) >= set(REPLACEMENTS)
    assert metrics["gamma"] == 0.5 and metrics["streets_val"]["images"] == 1
    assert metrics["attention_split"] == "camvid val" and written["looks"] == {"camvid val": 1}
    assert "similarity, box" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_without_attention_gets_its_scores_alone(tmp_path, camvid):
    path = tmp_path / "fcn.safetensors"
    save_checkpoint(path, make_model(dataclasses.replace(CONFIG, context="fcn")), {"name": "fcn"})
    assert command.main(["--checkpoint", str(path), "--data", str(camvid), "--streets", "0"]) == 0
    metrics = read_card(path)["metrics"]
    assert set(metrics) == {"camvid_val"} and "miou_uniform" not in metrics["camvid_val"]


def test_bad_arguments_end_with_one_sentence(tmp_path, capsys):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, make_model(), {"name": "tiny"})
    before = path.read_bytes()
    for arguments, expected in [
        (["--checkpoint", str(tmp_path / "none"), "--data", "x"], "there is no checkpoint"),
        (["--checkpoint", str(path), "--data", str(tmp_path)], "is missing"),
        (["--checkpoint", str(path), "--data", str(tmp_path), "--workers", "0"], "--workers is 0"),
    ]:
        assert command.main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and expected in error and error.count("\n") == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("looks", "counted"),
    [(None, {"camvid test": 1}), ({"camvid test": 2, "x": 1}, {"camvid test": 3, "x": 1}), ("x", {"camvid test": 1})],
)
def test_every_look_at_a_split_is_counted(looks, counted):
    assert command.counted(looks, "camvid test") == counted
