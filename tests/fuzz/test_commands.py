"""Every command under options of any kind: exit code 0, or one sentence."""

import json

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from analysis import ablation as analysis_ablation
from analysis.card import command as card
from analysis.figures import command as figures
from analysis.report import command as report
from dnl import ablation, evaluate, export, train
from dnl.datasets import __main__ as datasets
from dnl.distributed import joined
from dnl.training.recipes import recipe
from dnl.training.runs import record, start
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


@pytest.fixture
def attempt(place, tmp_path_factory, capsys, monkeypatch):
    """attempt(main, arguments) runs a command, which must end well or in one sentence, and returns its exit code.

    In its own empty folder, whose path takes the place of OUT in the arguments, as that of `place` does of PLACE.
    """

    def run(main, arguments, out=None):
        out = tmp_path_factory.mktemp("out") if out is None else out
        monkeypatch.chdir(out)
        filled = [argument.replace("PLACE", str(place)).replace("OUT", str(out)) for argument in arguments]
        code = command_or_sentence("commands", main, filled, capsys)
        assert not (out / "ran").exists()
        return code

    return run


def options(choices: dict) -> st.SearchStrategy[list[str]]:
    """Some of the options, with fitting values and with others."""

    @st.composite
    def drawn(draw):
        arguments = []
        for name in draw(st.lists(st.sampled_from(list(choices)), max_size=6, unique=True)):
            value = draw(VALUES if draw(st.integers(0, 2)) == 0 else st.sampled_from(choices[name]))
            arguments += [name] if value == "FLAG" else [name, value]
        return arguments

    return drawn()


DATA = ["PLACE/camvid", "PLACE/torn", "/nonexistent", "PLACE"]
NO_DATA = ["/nonexistent", "PLACE/torn"]  # so that nothing ever trains, and no worker processes start
CHECKPOINT = ["PLACE/small.safetensors", "PLACE/torn.safetensors", "nosuch", "PLACE"]
NAMES = ["camvid", "folder", "voc", "ade20k", "cityscapes"]
SMALL = ["--checkpoint", "PLACE/small.safetensors"]
SETTINGS = [*train.RECIPES["camvid_dnl"].__dataclass_fields__] + [
    f"model.{name}" for name in train.RECIPES["camvid_dnl"].model.__dataclass_fields__
]

TRAIN = {
    "--data": [*NO_DATA, "PLACE"],
    "--out": ["OUT/run", "PLACE/run", "/dev/null/x"],
    "--resume": ["FLAG"],
    "--print": ["FLAG"],
}


@given(data=st.data())
@cases(40)
def test_train(attempt, data):
    names = data.draw(st.lists(st.sampled_from(SETTINGS) | VALUES, max_size=3))
    sets = [f"--set={name}={data.draw(VALUES)}" for name in names]
    preset = data.draw(st.sampled_from(["camvid_dnl", "cityscapes_dnl_r101", "nosuch"]))
    attempt(train.main, ["--recipe", preset, *sets, *data.draw(options(TRAIN))])


EVALUATE = {
    "--checkpoint": CHECKPOINT,
    "--dataset": NAMES,
    "--data": DATA,
    "--split": ["val", "test", "nosuch"],
    "--gamma": ["0", "0.5", "nan", "1e300"],
    "--attention": ["uniform", "mean"],
    "--scales": ["1", "0.5", "0", "-1", "nan", "100000"],
    "--flip": ["FLAG"],
    "--window": ["32", "1", "-5", "100000"],
    "--json": ["OUT/scores.json", "/nonexistent/x.json", "PLACE"],
}


@example(extra=["--gamma", "1e300"])  # beyond float32
@example(extra=["--json", ""])  # the folder that the command runs in
@given(extra=options(EVALUATE))
@cases(10)
def test_evaluate(attempt, extra):
    attempt(evaluate.main, [*SMALL, "--dataset", "camvid", "--data", "PLACE/camvid", *extra])


ABLATION = {
    "--data": NO_DATA,
    "--out": ["OUT/a", "/dev/null/x", "PLACE/run"],
    "--recipe": ["camvid_dnl", "nosuch"],
    "--set": ["epochs=0", "nosuch=1", "seed=-1"],
    "--seeds": ["0", "-1", "2"],
    "--minutes": ["0", "nan", "-1", "1e-9", "inf"],
    "--epochs": ["0", "1"],
    "--variants": ["nl", "nosuch"],
}


@example(extra=["--out", "x" * 5000])
@example(extra=["--out", "/dev/null/x", "--epochs", "1"])
@given(extra=options(ABLATION))
@cases(20)
def test_ablation(attempt, extra):
    attempt(ablation.main, ["--out", "OUT/b", *extra])


@given(extra=options({"--runs": ["OUT", "PLACE", "/nonexistent"], "--data": DATA}))
@cases(10)
def test_noise_of_the_ablation(attempt, extra):
    attempt(analysis_ablation.main, extra)


REPORT = {
    "--checkpoint": CHECKPOINT,
    "--dataset": NAMES,
    "--data": NO_DATA,
    "--split": ["val", "nosuch"],
    "--out": ["OUT/r", "/dev/null/x"],
    "--gate": ["binary", "none", "nosuch"],
    "--lr-kernel": ["3", "none", "2", "-1", "x", "99999999999999999999"],
    "--temperature": ["nan", "0", "-1", "1e-300"],
    "--labels": ["truth", "prediction"],
    "--limit": ["0", "-1", "5"],
    "--workers": ["0", "-3"],
    "--min-images": ["0", "2"],
}


@given(extra=options(REPORT))
@cases(20)
def test_report(attempt, extra):
    attempt(report.main, [*SMALL, "--dataset", "voc", "--out", "OUT/r", "--data", "PLACE", *extra])


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
def test_options_of_a_report_that_make_no_sense(attempt, extra):
    data = ["--dataset", "camvid", "--data", "PLACE/camvid", "--workers", "1"]
    assert attempt(report.main, [*SMALL, *data, "--out", "OUT/r", *extra]) == 1


FIGURE_RECIPES = ["PLACE/recipe.json", "/dev/null", "/dev/zero", "PLACE", "/nonexistent", "PLACE/small.safetensors"]


@example(path="PLACE/recipe.json", figure="x" * 5000, extra=[])
@given(
    path=st.sampled_from(FIGURE_RECIPES) | VALUES,
    figure=st.sampled_from(["OUT/a.pdf", "a.exe"]) | VALUES,
    extra=options({"--data": DATA, "--dpi": ["300", "7"]}),
)
@cases(20)
def test_figures(attempt, path, figure, extra):
    attempt(figures.main, [path, figure, *extra])


CARD = {
    "--checkpoint": ["PLACE/torn.safetensors", "nosuch"],
    "--data": NO_DATA,
    "--split": ["nosuch", "val"],
    "--streets": ["-1", "0"],
    "--workers": ["0", "-1"],
}


@given(extra=options(CARD))
@cases(10)
def test_card(attempt, extra):
    attempt(card.main, [*SMALL, "--data", "/nonexistent", *extra])


EXPORT = {
    "--checkpoint": CHECKPOINT,
    "--height": ["8", "-1", "1000000"],  # never a size that is exported, which takes its time
    "--width": ["64", "0", "1000000"],
    "--out": ["OUT/a.pt2", "OUT/a.exe", "OUT", "/nonexistent/a.pt2", "/dev/null/a.onnx"],
}


@given(extra=options(EXPORT))
@cases(10)
def test_export(attempt, extra):
    attempt(export.main, [*SMALL, "--out", "OUT/a.pt2", "--height", "8", *extra])


# Nobody listens there.
URLS = [
    "http://127.0.0.1:1/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1:1/",
    "http://",
    "http://[",
    "http://127.0.0.1:99999/",
]


@example(verb="fetch", name="camvid", extra=["--to", "/dev/null/x"], url=URLS[0])
@given(
    verb=st.sampled_from(["fetch", "nosuch", ""]),
    name=st.sampled_from(["camvid", "x"]),
    extra=options({"--to": ["OUT/a", "/dev/null/x", "PLACE/torn"]}),
    url=st.sampled_from(URLS),
)
@cases(20)
def test_fetch(attempt, verb, name, extra, url):
    attempt(datasets.main, [verb, name, "--to", "OUT/b", *extra, "--url", url])


CONFIGS = corpus.JSON_TEXTS | corpus.JSON.map(lambda value: json.dumps(value).encode())
ANY_RUN = ["--recipe", "camvid_dnl", "--data", "/nonexistent", "--out", "OUT"]


@given(config=CONFIGS, state=CONFIGS)
@cases(30)
def test_folders_of_runs_that_are_none(attempt, tmp_path_factory, config, state):
    out = tmp_path_factory.mktemp("run")
    (out / "config.json").write_bytes(config)
    (out / "state.pt").write_bytes(state)
    (out / "plan.json").write_bytes(config)
    assert attempt(train.main, [*ANY_RUN, "--resume"], out) == 1
    assert attempt(ablation.main, ANY_RUN, out) == 1


STATE = {"history": [{"epoch": 1}], "model": {}, "average": {}, "optimizer": {}, "scaler": {}}
CURVES = b"step,epoch,loss,learning_rate\n1,1,0.5,0.1\n"


@given(data=st.data())
@cases(20)
def test_states_of_runs_that_are_none(attempt, tmp_path_factory, data):
    out = tmp_path_factory.mktemp("run")
    with joined() as world:
        record(start("camvid_dnl", recipe("camvid_dnl"), out, world), {}, world)
    torch.save(STATE, out / "state.pt")
    (out / "state.pt").write_bytes(data.draw(corpus.spoilt([(out / "state.pt").read_bytes()])))
    (out / "curves.csv").write_bytes(data.draw(corpus.spoilt([CURVES])))
    assert attempt(train.main, [*ANY_RUN, "--resume"], out) == 1
