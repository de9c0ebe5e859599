"""The names and commands that other programs rely on."""

import importlib
import tomllib
from pathlib import Path

import pytest

import dnl

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAMES = {
    "dnl": "ModelConfig SegmentationOutput attention build_model list_checkpoints load_checkpoint __version__",
    "dnl.attention": "GATES LR_WEIGHTS AttentionStages attention_stages check_inputs denoised_attention gate_rows "
    "gated_attention mean_attention_row offsets retain_rows retain_values retention_weights",
    "dnl.checkpoints": "SUFFIX CheckpointError checkpoint_hash checkpoint_path label_set_of list_checkpoints "
    "load_backbone load_checkpoint load_reference load_torchvision_backbone read_card save_checkpoint",
    "dnl.classes": "ADE20K CAMVID CITYSCAPES VOC LabelSet",
    "dnl.datasets": "ADE20K NAMES VOC Cached CamVid Cityscapes DatasetError Folder Sample Streets camvid_labels "
    "open_dataset",
    "dnl.metrics": "SegmentationScores confusion_matrix segmentation_scores",
    "dnl.network": "MIN_SIDE ModelConfig SegmentationNetwork SegmentationOutput build_model",
}
COMMANDS = ("dnl.train", "dnl.evaluate", "dnl.ablation", "dnl.export", "dnl.datasets.__main__", "dnl.predict.__main__")


@pytest.mark.parametrize("module", NAMES)
def test_public_names_are_there(module):
    loaded = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(loaded, name)] == []


def rooms():
    return sorted(
        f"dnl.{path.parent.relative_to(ROOT / 'dnl').as_posix().replace('/', '.')}"
        for path in (ROOT / "dnl").rglob("*/__init__.py")
    )


@pytest.mark.parametrize("room", rooms())
def test_every_room_names_what_is_public(room):
    face = importlib.import_module(room)
    assert face.__all__ and all(hasattr(face, name) for name in face.__all__)


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_tells_what_it_takes(module, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(["--help"])
    assert ended.value.code == 0
    assert f"usage: python -m {module.removesuffix('.__main__')} " in capsys.readouterr().out


@pytest.mark.parametrize("script", PROJECT["project"]["scripts"])
def test_every_console_script_is_a_command(script):
    module, _, name = PROJECT["project"]["scripts"][script].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_version_is_written_once():
    module, _, name = PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert getattr(importlib.import_module(module), name) == dnl.__version__
    assert f"version: {dnl.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_pinned_releases_lie_in_the_ranges_of_the_wheel():
    pinned = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").split())
    ranges = dict(range_.split(">=") for range_ in PROJECT["project"]["dependencies"])
    assert ranges.keys() == pinned.keys()
    for name, between in ranges.items():
        lowest, highest = (tuple(map(int, part.split("."))) for part in between.split(",<"))
        assert lowest <= tuple(map(int, pinned[name].split("."))) < highest, name


def test_the_changelog_begins_with_this_version():
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## "]
    assert headings[0].split()[1] == dnl.__version__


def test_files_that_the_settings_name_are_there():
    mutants = PROJECT["tool"]["mutmut"]
    files = [
        *mutants["only_mutate"],
        *(test.partition("::")[0] for test in mutants["pytest_add_cli_args_test_selection"]),
    ]
    assert [file for file in files if not (ROOT / file).exists()] == []
