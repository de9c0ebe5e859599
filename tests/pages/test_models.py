import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dnl.checkpoints import file as checkpoints
from dnl.checkpoints import load_checkpoint
from dnl.inference import predict
from pages.parts.app.words import literal
from tests.pages.small import APP, png, read, save_network

SHIPPED = checkpoints.ZOO / "camvid-dnl.safetensors"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """$DNL_CHECKPOINTS, an empty folder; the zoo is as shipped."""
    folder = tmp_path / "found"
    folder.mkdir()
    monkeypatch.setenv("DNL_CHECKPOINTS", str(folder))
    monkeypatch.delenv("DNL_DATA", raising=False)
    return folder


@pytest.fixture
def app(folder) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=300)
    app.switch_page("pages/models.py")
    return app


def words(app: AppTest) -> str:
    return "\n".join(text.value for text in (*app.markdown, *app.info, *app.caption))


def names(app: AppTest) -> list[str]:
    return list(app.dataframe[0].value["checkpoint"])


def test_the_shipped_checkpoint_has_its_card(app):
    app.run()
    assert not app.exception and not app.error
    assert names(app) == ["camvid-dnl", "camvid-nl"]
    card = checkpoints.read_card("camvid-dnl")
    assert f"{card['metrics']['camvid_val']['miou']:.3f}" in words(app)
    assert checkpoints.checkpoint_hash("camvid-dnl") in words(app)
    assert not app.code  # what is folded away comes when it is opened
    app.session_state["command"] = True
    app.run()
    assert app.code[0].value.startswith("python -m dnl.train --recipe ")
    noise = next(frame.value for frame in app.dataframe if "interclass noise" in frame.value.columns)
    assert noise["interclass noise"].iloc[0] == card["metrics"]["attention"]["raw"]["interclass_noise"]["mean"]
    assert app.selectbox(key="log").options == ["this checkpoint's run"]


def test_a_broken_checkpoint_is_named_and_the_others_shown(app, folder):
    (folder / "torn.safetensors").write_bytes(SHIPPED.read_bytes()[:3000])
    save_network(folder / "odd.safetensors", metrics={"attention": 5})
    app.run()
    assert not app.exception
    assert len(app.error) == 2
    assert any("torn cannot be shown" in error.value for error in app.error)
    assert any("odd cannot be shown" in error.value and "another form" in error.value for error in app.error)
    assert not {"torn", "odd"} & set(names(app))


def test_a_checkpoint_without_figures_or_attention_says_so(app, folder):
    save_network(folder / "plain.safetensors", context="fcn")
    app.run()
    app.selectbox(key="card of").select("plain").run()
    assert not app.exception and not app.error
    for sentence in (
        "no training curves",
        "no scores per class",
        "noise was not measured",
        "does not name its recipe",
        "not say how it was",
    ):
        assert sentence in words(app)


def test_two_checkpoints_are_compared(app, folder):
    scores = {"miou": 0.25, "iou": {"Sky": 0.5, "Road": 0.0}}
    save_network(folder / "other.safetensors", metrics={"camvid_val": scores, "gamma": 0.125})
    app.run()
    assert app.selectbox(key="compared second").value == "camvid-nl"  # the twin, without a click
    app.selectbox(key="compared second").select("other").run()
    assert not app.exception and not app.error
    table = next(table.value for table in app.table if "other" in table.value.columns)
    assert literal("0.125") in list(table["other"]) and "resnet18" in list(table[literal("camvid-dnl")])
    app.selectbox(key="compared second").select("camvid-dnl").run()
    assert "Choose two different checkpoints" in words(app)


def test_training_curves_come_from_a_run_folder(app, folder):
    run = folder / "run"
    run.mkdir()
    records = [{"epoch": 1, "loss": 2.0, "gamma": 0.5}, {"epoch": 2, "loss": 1.0, "gamma": 0.4, "miou": 0.3}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    app.run()
    assert not app.exception and not app.error
    assert app.selectbox(key="log").options == ["this checkpoint's run", "run"]
    app.selectbox(key="log").select("run").run()
    assert not app.exception and not app.error
    (run / "metrics.jsonl").write_text("{broken\n")
    app.run()
    assert "Line 1 of metrics" in app.error[0].value


def test_the_ablation_is_shown_where_it_is_there(app, tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    save_network(zoo / "only.safetensors")
    row = {"variant": "nl", "seeds": [0, 1], "miou": {"mean": 0.5, "sd": 0.01}}
    (zoo / "ablation.json").write_text(json.dumps({"recipe": "camvid_dnl", "epochs": 3, "rows": [row]}))
    monkeypatch.setattr(checkpoints, "ZOO", zoo)
    app.run()
    assert not app.exception and not app.error
    frame = next(frame.value for frame in app.dataframe if "seeds" in frame.value.columns)
    assert list(frame["mean IoU"]) == ["0.500 ± 0.010"]
    (about,) = [read(text.value) for text in app.caption if "camvid_dnl" in read(text.value)]
    assert "Means over 2 seeds" in about and "Missing of the 8 networks: fcn, nl+gr-sigmoid" in about
    on_test = {"recipe": "camvid_dnl", "epochs": 3, "split": "test", "rows": [{**row, "miou_Seq05VD": row["miou"]}]}
    (zoo / "ablation-test.json").write_text(json.dumps(on_test))
    app.run()
    first, second = [frame.value for frame in app.dataframe if "seeds" in frame.value.columns]
    assert list(first["mean IoU, Seq05VD"]) == ["0.500 ± 0.010"] and "mean IoU, Seq05VD" not in second.columns
    assert any("measured on test" in read(text.value) for text in app.caption)


def test_photos_become_a_zip_file_of_labels_colours_and_overlays(app, tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    network, _ = load_checkpoint(save_network(zoo / "small.safetensors", context="fcn"))
    monkeypatch.setattr(checkpoints, "ZOO", zoo)
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    app.run()
    files = [("a.b.png", png(photo), "image/png"), ("torn.png", b"no photo", "image/png"), ("a.b.png", png(photo), "")]
    app.file_uploader(key="labelling photos").set_value(files).run()
    app.button(key="labelling").click().run()
    assert not app.exception
    (said,) = [read(error.value) for error in app.error]
    assert said.startswith("torn.png was left out: The photo is not a readable PNG, JPEG")
    _, made, _ = app.session_state["labelled"]
    assert list(made) == [
        *("colours/a-b.png", "overlays/a-b.png", "labels/a-b.png"),
        *("colours/a-b-again.png", "overlays/a-b-again.png", "labels/a-b-again.png", "classes.txt"),
    ]
    with Image.open(io.BytesIO(made["labels/a-b.png"])) as picture:
        assert np.array_equal(np.array(picture), predict(network, photo))
    assert made["classes.txt"].decode().splitlines()[0] == "0\tSky"
    app.file_uploader(key="labelling photos").set_value(files[:1]).run()
    assert "of other photos or another model" in words(app)


def test_no_checkpoint_at_all_is_said(app, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ZOO", tmp_path)
    app.run()
    assert not app.exception
    assert "no checkpoint to show" in app.error[0].value


def test_a_users_checkpoint_opens_for_the_session_and_can_be_chosen_and_closed(app, tmp_path):
    content = save_network(tmp_path / "mine.safetensors").read_bytes()
    app.run()
    app.file_uploader(key="checkpoint file").set_value(("mine.safetensors", content, "application/octet-stream")).run()
    assert not app.exception and not app.error
    assert "mine (yours)" in names(app)
    app.switch_page("pages/explorer.py").run()
    assert "mine (yours)" in app.selectbox(key="model").options
    app.selectbox(key="model").select("mine (yours)").run()
    assert not app.exception and not app.error
    app.switch_page("pages/models.py").run()
    assert "mine (yours)" in names(app)
    app.button(key="close mine (yours)").click().run()
    assert not app.exception and "mine (yours)" not in names(app)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"not a checkpoint", "is not a readable safetensors file"),
        (SHIPPED.read_bytes()[:3000], "is not a readable safetensors file"),
    ],
)
def test_a_file_that_is_no_checkpoint_gets_one_sentence(app, content, words):
    app.run()
    app.file_uploader(key="checkpoint file").set_value(("x.safetensors", content, "application/octet-stream")).run()
    assert not app.exception
    assert len(app.error) == 1 and words in app.error[0].value
    assert names(app)[0] == "camvid-dnl"


def test_a_link_opens_its_card_and_a_wrong_one_is_named(app, folder):
    save_network(folder / "plain.safetensors")
    app.query_params["card"] = "plain"
    app.run()
    assert not app.exception and not app.warning
    assert app.selectbox(key="card of").value == "plain" and app.query_params["card"] == "plain"
    app.query_params["card"] = "../secret"
    app.run()
    assert not app.exception
    assert "secret" in app.warning[0].value and app.selectbox(key="card of").value == "plain"
