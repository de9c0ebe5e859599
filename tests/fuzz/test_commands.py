"""Every command under options of any kind: exit code 0, or one sentence."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from analysis import ablation as analysis_ablation
from analysis import card, figures, report
from dnl import ablation, evaluate, train
from dnl.datasets import __main__ as datasets
from tests.fuzz import corpus
from tests.fuzz.guard import cases, command_or_sentence

VALUES = (
    st.sampled_from(
        ["", "-1", "0", "1", "nan", "inf", "1e999", "9" * 30, "\0", "/dev/null", "/nonexistent", "x" * 5000]
    )
    | st.sampled_from(["--", "-", "../..", "a=b", "=", "model.", "é", "*", "$(touch ran)", ";touch ran"])
    | st.text(max_size=6)
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a checkpoint, a CamVid of one small image a split, a broken data set and a recipe."""
    root = tmp_path_factory.mktemp("commands")
    (root / "small.safetensors").write_bytes(corpus.checkpoint(root))
    (root / "torn.safetensors").write_bytes(corpus.checkpoint(root)[:9000])
    for split in ("train", "val", "test"):
        for kind, mode in (("", "RGB"), ("annot", "L")):
            (root / "camvid" / f"{split}{kind}").mkdir(parents=True)
            Image.new(mode, (48, 40), 3).save(root / "camvid" / f"{split}{kind}" / "a.png")
    (root / "torn" / "train").mkdir(parents=True)
    (root / "torn" / "trainannot").mkdir()
    (root / "torn" / "train" / "a.png").write_bytes(b"\x89PNG")
    (root / "recipe.json").write_text('{"checkpoints": [{"name": "camvid-dnl"}], "rows": []}')
    (root / "run").mkdir()
    (root / "run" / "config.json").write_text("{}")
    return root


def options(choices: dict, place) -> st.SearchStrategy[list[str]]:
    """Some of the options, with fitting values and with others."""
    known = {
        name: st.sampled_from([value.replace("PLACE", str(place)) for value in values])
        for name, values in choices.items()
    }

    @st.composite
    def drawn(draw):
        arguments = []
        for name in draw(st.lists(st.sampled_from(list(known)), max_size=6, unique=True)):
            value = draw(VALUES if draw(st.integers(0, 2)) == 0 else known[name])
            arguments += [name] if value == "FLAG" else [name, value]
        return arguments

    return drawn()


def run(kind, main, arguments, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = command_or_sentence(kind, main, arguments, capsys)
    assert not (tmp_path / "ran").exists()
    return code


DATA = ["PLACE/camvid", "PLACE/torn", "/nonexistent", "PLACE"]
CHECKPOINT = ["PLACE/small.safetensors", "PLACE/torn.safetensors", "nosuch", "PLACE"]
NAMES = ["camvid", "folder", "voc", "ade20k", "cityscapes"]


@given(data=st.data())
@cases(40)
def test_train(place, tmp_path_factory, data, capsys, monkeypatch):
    """Without the data set, so that nothing ever trains."""
    out = tmp_path_factory.mktemp("out")
    choices = {"--data": ["/nonexistent", "PLACE/torn", "PLACE"], "--out": [f"{out}/run", "PLACE/run", "/dev/null/x"]}
    choices |= {"--resume": ["FLAG"], "--print": ["FLAG"]}
    names = data.draw(st.lists(st.sampled_from(SETTINGS) | VALUES, max_size=3))
    sets = [f"--set={name}={data.draw(VALUES)}" for name in names]
    recipe = data.draw(st.sampled_from(["camvid_dnl", "cityscapes_dnl_r101", "nosuch"]))
    arguments = ["--recipe", recipe, *sets, *data.draw(options(choices, place))]
    run("commands", train.main, arguments, capsys, monkeypatch, out)


SETTINGS = [*train.RECIPES["camvid_dnl"].__dataclass_fields__] + [
    f"model.{name}" for name in train.RECIPES["camvid_dnl"].model.__dataclass_fields__
]


@given(data=st.data())
@cases(10)
def test_evaluate(place, tmp_path_factory, data, capsys, monkeypatch):
    out = tmp_path_factory.mktemp("out")
    choices = {
        "--checkpoint": CHECKPOINT,
        "--dataset": NAMES,
        "--data": DATA,
        "--split": ["val", "test", "nosuch"],
        "--gamma": ["0", "0.5", "nan", "1e300"],
        "--attention": ["uniform", "mean"],
        "--scales": ["1", "0.5", "0", "-1", "nan", "100000"],
        "--flip": ["FLAG"],
        "--window": ["32", "1", "-5", "100000"],
        "--json": [f"{out}/scores.json", "/nonexistent/x.json", "PLACE"],
    }
    start = ["--checkpoint", f"{place}/small.safetensors", "--dataset", "camvid", "--data", f"{place}/camvid"]
    run("commands", evaluate.main, start + data.draw(options(choices, place)), capsys, monkeypatch, out)


@given(data=st.data())
@cases(20)
def test_ablation(place, tmp_path_factory, data, capsys, monkeypatch):
    out = tmp_path_factory.mktemp("out")
    choices = {
        "--data": ["/nonexistent", "PLACE/torn"],
        "--out": [f"{out}/a", "/dev/null/x", "PLACE/run"],
        "--recipe": ["camvid_dnl", "nosuch"],
        "--set": ["epochs=0", "nosuch=1", "seed=-1"],
        "--seeds": ["0", "-1", "2"],
        "--minutes": ["0", "nan", "-1", "1e-9", "inf"],
        "--epochs": ["0", "1"],
        "--variants": ["nl", "nosuch"],
    }
    run("commands", ablation.main, ["--out", f"{out}/b", *data.draw(options(choices, place))], capsys, monkeypatch, out)


@given(data=st.data())
@cases(10)
def test_noise_of_the_ablation(place, tmp_path_factory, data, capsys, monkeypatch):
    out = tmp_path_factory.mktemp("out")
    choices = {"--runs": [str(out), "PLACE", "/nonexistent"], "--data": DATA}
    run("commands", analysis_ablation.main, data.draw(options(choices, place)), capsys, monkeypatch, out)


@given(data=st.data())
@cases(20)
def test_report(place, tmp_path_factory, data, capsys, monkeypatch):
    """On data sets that do not open, so that no worker processes start."""
    out = tmp_path_factory.mktemp("out")
    choices = {
        "--checkpoint": CHECKPOINT,
        "--dataset": NAMES,
        "--data": ["/nonexistent", "PLACE/torn"],
        "--split": ["val", "nosuch"],
        "--out": [f"{out}/r", "/dev/null/x"],
        "--gate": ["binary", "none", "nosuch"],
        "--lr-kernel": ["3", "none", "2", "-1", "x", "99999999999999999999"],
        "--temperature": ["nan", "0", "-1", "1e-300"],
        "--labels": ["truth", "prediction"],
        "--limit": ["0", "-1", "5"],
        "--workers": ["0", "-3"],
        "--min-images": ["0", "2"],
    }
    start = [
        "--checkpoint",
        f"{place}/small.safetensors",
        "--dataset",
        "voc",
        "--out",
        f"{out}/r",
        "--data",
        str(place),
    ]
    run("commands", report.main, start + data.draw(options(choices, place)), capsys, monkeypatch, out)


@pytest.mark.parametrize(
    "extra",
    [
        ["--lr-kernel", "2"],
        ["--lr-kernel", "-1"],
        ["--lr-kernel", "9" * 20],
        ["--limit", "0"],
        ["--min-images", "-1"],
    ],
)
def test_options_of_a_report_that_make_no_sense(place, extra, capsys, monkeypatch, tmp_path):
    data = ["--dataset", "camvid", "--data", f"{place}/camvid", "--workers", "1"]
    start = ["--checkpoint", f"{place}/small.safetensors", *data, "--out", str(tmp_path / "r")]
    assert run("commands", report.main, start + extra, capsys, monkeypatch, tmp_path) == 1


@given(data=st.data())
@cases(20)
def test_figures(place, tmp_path_factory, data, capsys, monkeypatch):
    out = tmp_path_factory.mktemp("out")
    recipes = [
        f"{place}/recipe.json",
        "/dev/null",
        "/dev/zero",
        str(place),
        "/nonexistent",
        f"{place}/small.safetensors",
    ]
    arguments = [
        data.draw(st.sampled_from(recipes) | VALUES),
        data.draw(st.sampled_from([f"{out}/a.pdf", "a.exe"]) | VALUES),
    ]
    choices = {"--data": DATA, "--dpi": ["300", "7"]}
    run("commands", figures.main, arguments + data.draw(options(choices, place)), capsys, monkeypatch, out)


@given(data=st.data())
@cases(10)
def test_card(place, tmp_path_factory, data, capsys, monkeypatch):
    out = tmp_path_factory.mktemp("out")
    choices = {
        "--checkpoint": ["PLACE/torn.safetensors", "nosuch"],
        "--data": ["/nonexistent", "PLACE/torn"],
        "--split": ["nosuch", "val"],
        "--streets": ["-1", "0"],
        "--workers": ["0", "-1"],
    }
    start = ["--checkpoint", f"{place}/small.safetensors", "--data", "/nonexistent"]
    run("commands", card.main, start + data.draw(options(choices, place)), capsys, monkeypatch, out)


@given(data=st.data())
@cases(20)
def test_fetch(place, tmp_path_factory, data, capsys, monkeypatch):
    """From addresses on which nobody listens."""
    out = tmp_path_factory.mktemp("out")
    urls = [
        "http://127.0.0.1:1/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1:1/",
        "http://",
        "http://[",
        "http://127.0.0.1:99999/",
    ]
    choices = {"--to": [f"{out}/a", "/dev/null/x", "PLACE/torn"]}
    url = data.draw(st.sampled_from(urls))
    arguments = [data.draw(st.sampled_from(["fetch", "nosuch", ""])), data.draw(st.sampled_from(["camvid", "x"]))]
    arguments += ["--to", f"{out}/b", *data.draw(options(choices, place)), "--url", url]
    run("commands", datasets.main, arguments, capsys, monkeypatch, out)


CONFIGS = corpus.JSON_TEXTS | corpus.JSON.map(lambda value: json.dumps(value).encode())


@given(config=CONFIGS, state=CONFIGS)
@cases(30)
def test_folders_of_runs_that_are_none(tmp_path_factory, config, state, capsys, monkeypatch):
    out = tmp_path_factory.mktemp("run")
    (out / "config.json").write_bytes(config)
    (out / "state.pt").write_bytes(state)
    (out / "plan.json").write_bytes(config)
    arguments = ["--recipe", "camvid_dnl", "--data", "/nonexistent", "--out", str(out)]
    assert run("commands", train.main, [*arguments, "--resume"], capsys, monkeypatch, out) == 1
    assert run("commands", ablation.main, arguments, capsys, monkeypatch, out) == 1


@given(data=st.data())
@cases(20)
def test_states_of_runs_that_are_none(tmp_path_factory, data, capsys, monkeypatch):
    out = tmp_path_factory.mktemp("run") / "run"
    arguments = ["--recipe", "camvid_dnl", "--data", "/nonexistent", "--out", str(out)]
    run("commands", train.main, arguments, capsys, monkeypatch, out.parent)
    torch.save({"history": [{"epoch": 1}], "model": {}, "average": {}, "optimizer": {}, "scaler": {}}, out / "state.pt")
    (out / "state.pt").write_bytes(data.draw(corpus.spoilt([(out / "state.pt").read_bytes()])))
    (out / "curves.csv").write_bytes(data.draw(corpus.spoilt([b"step,epoch,loss,learning_rate\n1,1,0.5,0.1\n"])))
    assert run("commands", train.main, [*arguments, "--resume"], capsys, monkeypatch, out.parent) == 1
