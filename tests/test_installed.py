"""The installed wheel, used from elsewhere: public names, files that travel along, commands. Needs no network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow

# What other programs import. A module, and names in it.
PUBLIC = {
    "analysis": "Capture capture_attention hook load_capture named_classes save_capture",
    "analysis.figures": "attention_figure",
    "analysis.geometry": "pixel_to_cell",
    "analysis.lens": "CSS HTML MAX_MAP_CELLS PIN_COLOURS PIN_LIMIT SCRIPT asking_for chosen_pixels image_id "
    "known_choices known_look known_pins pack_capture row_options standalone_html",
    "analysis.maps": "attention_rows",
    "analysis.measure": "MeasureOptions measure_capture",
    "analysis.noise": "EMPTIED HOLLOW_THRESHOLD METRICS MIN_CELLS MIN_IMAGES ClassSums DetectionScores ImageNoise "
    "Leakage MetricSummary QueryMetrics QuerySets RowSums argmax_keys class_table concatenate defined_scores "
    "detection_scores distinct_argmax_keys has_noise image_noise leakage leakage_from_sums macro_means "
    "mean_dependence metrics_from_sums query_dependence query_metrics query_pairs query_sets row_divergences "
    "summarise times_chance",
    "dnl": "ModelConfig SegmentationOutput __version__ attention build_model list_checkpoints load_checkpoint",
    "dnl.attention": "GATES LR_WEIGHTS AttentionStages attention_stages denoised_attention gate_rows gated_attention "
    "mean_attention_row offsets retain_rows retain_values retention_weights",
    "dnl.checkpoints": "load_backbone load_reference load_torchvision_backbone save_checkpoint",
    "dnl.classes": "ADE20K CAMVID CITYSCAPES VOC LabelSet",
    "dnl.datasets": "ADE20K NAMES VOC Cached CamVid Cityscapes DatasetError Folder Sample Streets camvid_labels "
    "open_dataset",
    "dnl.datasets.streets": "SPLIT_SEEDS Streets render_street",
    "dnl.metrics": "SegmentationScores confusion_matrix segmentation_scores",
}
SCRIPTS = {
    "dnl",
    "dnl-train",
    "dnl-evaluate",
    "dnl-predict",
    "dnl-ablation",
    "dnl-datasets",
    "dnl-report",
    "dnl-figures",
    "dnl-card",
    "dnl-ablation-noise",
}
MODULES = (
    *(
        "dnl.train",
        "dnl.evaluate",
        "dnl.predict",
        "dnl.ablation",
        "dnl.export",
        "dnl.datasets",
        "dnl.checkpoints.average",
    ),
    *("analysis.report", "analysis.figures", "analysis.card", "analysis.ablation", "analysis.command"),
)

KINDS = (".py", ".js", ".css", ".safetensors", ".json", ".jsonl")

# Run with the names as JSON: prints where the packages lie, the names that are missing, checkpoints, and scripts.
USE = """
import importlib, importlib.metadata, json, sys
missing = [f"{module}.{name}" for module, names in json.loads(sys.argv[1]).items()
           for name in names.split() if not hasattr(importlib.import_module(module), name)]
import analysis.lens, dnl
scripts = importlib.metadata.distribution("denoised-nl").entry_points
print(json.dumps({
    "missing": missing,
    "files": [analysis.__file__, dnl.__file__],
    "checkpoints": dnl.list_checkpoints(),
    "lens": [len(analysis.lens.SCRIPT), len(analysis.lens.CSS)],
    "version": [dnl.__version__, importlib.metadata.version("denoised-nl")],
    "app": str(importlib.import_module("analysis.command").app_file()),
    "scripts": {script.name: callable(script.load()) for script in scripts},
}))
"""

# Run with modules' names: prints what each says to --help, as a command that finds PyTorch imported and none of ours.
HELP = """
import contextlib, io, json, runpy, sys
import torch
said = {}
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] in ("analysis", "dnl")]:
        del sys.modules[name]
    sys.argv = [module, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            assert not ended.code, (module, ended.code)
    said[module] = out.getvalue()
print(json.dumps(said))
"""


def run(*command: str | Path, **options) -> str:
    """What the command prints; a failure shows all that it said. No path of this checkout leads into it."""
    ours = ("PYTHONPATH", "PYTHONHOME", "COVERAGE")  # coverage would count the wheel's files as others
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    clean |= options.pop("env", {})
    done = subprocess.run(list(map(str, command)), env=clean, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which the wheel is installed, without what it depends on."""
    sources, wheels, target = (tmp_path_factory.mktemp(name) for name in ("sources", "wheels", "target"))
    for name in ("dnl", "analysis", "pages"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "pyproject.toml", "README.md", "LICENSE", ".streamlit/config.toml"):
        (sources / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, sources / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, sources, cwd=wheels)
    run(*pip, "install", "--no-index", "--no-deps", "--no-compile", "--target", target, *wheels.iterdir(), cwd=wheels)
    return target


def use(installed: Path, folder: Path, *arguments: str) -> str:
    """Python's output for these arguments in a folder of its own, the installed wheel on its path."""
    return run(sys.executable, *arguments, cwd=folder, env={"PYTHONPATH": str(installed)})


def files_of(folder: Path, *packages: str) -> set[str]:
    """The files that the packages consist of; what a person's tools or notes leave beside them does not count."""
    files = (path for name in packages for path in (folder / name).rglob("*") if path.suffix in KINDS)
    return {path.relative_to(folder).as_posix() for path in files}


def test_the_wheel_holds_the_two_packages_and_the_app_with_all_their_files(installed):
    assert files_of(installed, "dnl", "analysis") == files_of(ROOT, "dnl", "analysis")
    folders = {path.name for path in installed.iterdir() if path.suffix != ".dist-info" and path.name != "bin"}
    assert folders == {"dnl", "analysis", "dnl_app"}
    app = installed / "dnl_app"
    assert files_of(app, ".") == {"app.py"} | files_of(ROOT, "pages")
    assert (app / ".streamlit" / "config.toml").read_bytes() == (ROOT / ".streamlit" / "config.toml").read_bytes()


def test_public_names_data_and_scripts_are_there(installed, tmp_path):
    answer = json.loads(use(installed, tmp_path, "-c", USE, json.dumps(PUBLIC)))
    assert not answer["missing"]
    assert all(Path(file).is_relative_to(installed) for file in answer["files"]), answer["files"]
    assert {"camvid-dnl", "camvid-nl"} <= set(answer["checkpoints"])
    assert all(size > 1000 for size in answer["lens"])
    assert len(set(answer["version"])) == 1
    assert Path(answer["app"]) == installed.resolve() / "dnl_app" / "app.py"
    assert answer["scripts"] == dict.fromkeys(SCRIPTS, True)


def test_every_command_answers(installed, tmp_path):
    said = json.loads(use(installed, tmp_path, "-c", HELP, *MODULES))
    assert {module: text.split(" ")[0] for module, text in said.items()} == dict.fromkeys(MODULES, "usage:")
