"""The layout: rooms, what each may import, floors, and the sizes of what stands in them."""

import tomllib
from pathlib import Path

import pytest

from tests import architecture
from tests.architecture import Room

ROOT = Path(__file__).parents[1]
PACKAGES = ("dnl", "analysis", "pages", "benchmarks")


def rooms_of(package: str, table: dict[str, tuple[str, str]], no_face: tuple[str, ...] = ()) -> architecture.Rooms:
    """A table's rooms by their full names. A row's first entry names rooms of the same table, or of other packages."""

    def full(name: str) -> str:
        return f"{package}.{name}" if name in table else name

    return {
        full(name): Room(tuple(map(full, ours.split())), tuple(libraries.split()), name not in no_face)
        for name, (ours, libraries) in table.items()
    }


# A room: the rooms that it may import, and the libraries. Ground floor first.
DNL = {
    "attention": ("", "torch triton"),
    "classes": ("", "numpy"),
    "metrics": ("", "numpy"),
    "files": ("", ""),
    "tables": ("", ""),
    "untrusted": ("", "PIL safetensors"),
    "distributed": ("", "torch"),
    "commands": ("untrusted", ""),
    "network": ("attention classes untrusted", "torch"),
    "codings": ("classes", "PIL numpy"),
    "pictures": ("codings untrusted", "PIL numpy"),
    "datasets": ("classes codings pictures files untrusted commands", "PIL numpy tqdm"),
    "transforms": ("", "PIL numpy torch"),
    "checkpoints": ("network classes files untrusted commands", "safetensors torch"),
    "inference": ("network transforms", "numpy torch"),
    "training": (
        "attention checkpoints network datasets classes inference transforms metrics distributed files untrusted",
        "filelock numpy torch tqdm",
    ),
    "export": ("checkpoints network files untrusted commands", "onnxruntime torch"),
    "train": ("attention training distributed untrusted commands", ""),
    "evaluate": (
        "training checkpoints network datasets inference metrics distributed files untrusted commands",
        "numpy torch tqdm",
    ),
    "predict": (
        "evaluate checkpoints network datasets classes codings pictures inference metrics distributed files untrusted "
        "commands",
        "PIL numpy torch tqdm",
    ),
    "ablation": (
        "evaluate training checkpoints network datasets distributed files tables untrusted commands",
        "tqdm",
    ),
}
ANALYSIS = {
    "geometry": ("", "numpy"),
    "options": ("dnl.attention", ""),
    "words": ("options", ""),
    "threads": ("dnl.attention", "torch"),
    "intervals": ("", "numpy"),
    "files": ("dnl", "PIL numpy"),
    "noise": ("", "numpy"),
    "capture": ("geometry options threads dnl", "numpy safetensors torch"),
    "lesson": ("noise dnl", "numpy torch"),
    "catch": ("capture dnl", "numpy torch"),
    "examples": ("dnl", "safetensors torch tqdm"),
    "maps": ("capture options dnl", "numpy torch"),
    "measure": ("capture maps noise options intervals threads words dnl", "numba numpy torch"),
    "printing": ("threads dnl", "matplotlib"),
    "figures": ("capture maps noise geometry options files printing threads words dnl", "PIL matplotlib numpy"),
    "lens": ("capture maps noise measure geometry options words dnl", "PIL anywidget matplotlib numpy traitlets"),
    "pins": ("capture maps noise figures geometry options files printing words dnl", "matplotlib numpy"),
    "report": ("capture maps measure noise geometry options files printing words dnl", "matplotlib numpy torch tqdm"),
    "card": ("capture maps measure noise options words dnl", "numpy torch tqdm"),
    "ablation": ("capture measure noise options intervals dnl", "numpy torch tqdm"),
    "command": ("report figures card dnl", ""),
    "exercise": ("lesson capture measure noise geometry files dnl", "PIL numpy"),
    "charts": ("lesson noise pins geometry options words", "PIL numpy plotly"),
}
SHARED = "parts.app parts.subjects analysis dnl"  # what the parts of every page may import
PAGES = {
    "parts": ("", ""),
    "parts.app": ("dnl.pictures dnl.untrusted", "PIL matplotlib numpy pandas streamlit"),
    "parts.subjects": ("parts.app analysis dnl", "numpy streamlit torch"),
    "parts.explorer": (SHARED, "PIL matplotlib numpy streamlit"),
    "parts.figures": (SHARED, "streamlit"),
    "parts.lesson": (SHARED, "numpy pandas streamlit"),
    "parts.models": (SHARED, "streamlit"),
    "parts.noise_report": (SHARED, "numpy streamlit"),
    "explorer": (f"parts.explorer parts.figures {SHARED}", "streamlit"),
    "figures": (f"parts.figures {SHARED}", "PIL streamlit"),
    "lesson": (f"parts.lesson {SHARED}", "streamlit"),
    "models": (f"parts.models {SHARED}", "streamlit"),
    "noise_report": (f"parts.noise_report {SHARED}", "streamlit"),
}
# Whose figures are compared with ours.
BENCHMARKED = ("cityscapesscripts", "segmentation_models_pytorch", "sklearn", "torchmetrics")
ROOMS = {
    **rooms_of("dnl", DNL),
    "dnl": Room(("dnl.attention", "dnl.checkpoints", "dnl.files", "dnl.network")),
    **rooms_of("analysis", ANALYSIS, no_face=("files", "pins", "charts")),
    "analysis": Room(("analysis.capture", "analysis.catch", "analysis.lens")),
    **rooms_of("pages", PAGES, no_face=tuple(name for name in PAGES if name.startswith("parts"))),
    "app": Room(("pages.parts.app",), ("streamlit",)),
    "benchmarks": Room(
        ("analysis", "dnl"), (*BENCHMARKED, "PIL", "matplotlib", "numpy", "playwright", "torch"), face=False
    ),
}

FLOORS = {"analysis": 6, "dnl": 7, "pages": 4}
FILES = {"analysis": 10, "dnl": 14}
# Streamlit takes every file in the folder for a page.
PAGE_FILES = {f"pages/{name}.py" for name in ("explorer", "figures", "lesson", "models", "noise_report")}
# The drawn streets are long lists of what to paint.
LINES = {"function": 60, "class_": 150, "javascript": 80, "apart": ("dnl/datasets/streets/",)}


@pytest.fixture(scope="module")
def sources() -> architecture.Sources:
    paths = [path for name in PACKAGES for kind in ("*.py", "*.js") for path in (ROOT / name).rglob(kind)]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in (ROOT / "app.py", *paths)}


def require_none(messages: list[str]) -> None:
    """Fails with the messages alone, one a line."""
    if messages:
        pytest.fail("\n".join(messages), pytrace=False)


def directly_in(package: str, sources: architecture.Sources) -> set[str]:
    return {
        path for path in sources if path.count("/") == 1 and path.startswith(f"{package}/") and path.endswith(".py")
    }


BY_ROOM = (
    architecture.files_without_a_room,
    architecture.rooms_without_a_file,
    architecture.forbidden_rooms,
    architecture.forbidden_libraries,
    architecture.unused_libraries,
    architecture.private_names,
    architecture.faces,
)


@pytest.mark.parametrize("rule", BY_ROOM, ids=lambda rule: rule.__name__)
def test_rooms_keep_to_the_table(sources, rule):
    require_none(rule(sources, ROOMS))


def test_no_circles_between_modules(sources):
    require_none(architecture.circles(architecture.module_arrows(sources)))


def test_no_circles_between_rooms(sources):
    require_none(architecture.circles(architecture.room_arrows(sources, ROOMS)))


def test_few_floors(sources):
    require_none(architecture.too_many_floors(architecture.room_arrows(sources, ROOMS), FLOORS))


def test_the_table_allows_few_floors_and_no_circle():
    require_none(architecture.too_many_floors(architecture.allowed_arrows(ROOMS), FLOORS))


def test_every_module_has_a_docstring(sources):
    require_none(architecture.missing_docstrings(sources))


def test_functions_and_classes_are_of_a_readable_length(sources):
    require_none(architecture.long_parts(sources, **LINES))


def test_the_folder_of_pages_holds_the_pages_alone(sources):
    assert directly_in("pages", sources) == PAGE_FILES


@pytest.mark.parametrize("package", FILES)
def test_few_files_stand_directly_in_a_package(sources, package):
    assert len(directly_in(package, sources)) <= FILES[package], sorted(directly_in(package, sources))


def test_every_folder_with_code_is_in_the_wheel(sources):
    """Whoever adds a folder names it in pyproject.toml, under tool.setuptools."""
    folders = {path.rpartition("/")[0] for path in sources if path.endswith(".py") and not path.startswith("bench")}
    names = {folder.replace("/", ".") for folder in folders if folder}
    expected = {f"dnl_app.{name}" if name.startswith("pages") else name for name in names} | {"dnl_app"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["tool"]["setuptools"]["packages"]) == expected


# What breaks the rooms: a file of ours, a line that is added to it, and what the message says besides the file.
PAGE_PARTS = "pages.parts.lesson may import pages.parts.app, pages.parts.subjects, analysis, dnl"
BREACHES = {
    "an upward import": (
        "analysis/capture/capture.py",
        "from analysis.measure import measure_capture",
        ("imports analysis.measure.measure_capture", "may import analysis.geometry, analysis.options, analysis.th"),
    ),
    "an upward import in a function": (
        "dnl/attention/stages.py",
        "def late():\n    from dnl.classes import LabelSet",
        ("imports dnl.classes.LabelSet", "dnl.attention may import nothing of ours"),
    ),
    "an upward import for types": (
        "analysis/noise/query.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from analysis.maps import StageMaps",
        ("imports analysis.maps.StageMaps", "analysis.noise may import nothing of ours"),
    ),
    "Plotly outside the charts": (
        "analysis/report/charts.py",
        "import plotly.graph_objects as go",
        ("imports plotly.graph_objects", "may import matplotlib, numpy, torch, tqdm", "belongs in analysis.charts"),
    ),
    "a page's part that imports another page's": (
        "pages/parts/lesson/basics.py",
        "from pages.parts.explorer.link import follow",
        ("imports pages.parts.explorer.link.follow", PAGE_PARTS),
    ),
    "a new file without a room": (
        "analysis/helpers.py",
        '"""Helpers."""',
        ("belongs to no room", "analysis.geometry", "analysis.charts"),
    ),
    "Streamlit outside the pages": (
        "analysis/lens/payload.py",
        "import streamlit as st",
        ("imports streamlit", "analysis.lens may import PIL, anywidget, matplotlib, numpy, traitlets"),
    ),
    "an underscored name of another room": (
        "analysis/maps.py",
        "from dnl.attention.stages import _check_value",
        ("imports dnl.attention.stages._check_value", "stays in its room, dnl.attention"),
    ),
    "a way around a face": (
        "analysis/maps.py",
        "from analysis.capture.capture import Capture",
        ("imports analysis.capture.capture.Capture", "import it from analysis.capture"),
    ),
    "a face where there is none": (
        "analysis/charts/__init__.py",
        "from analysis.charts.noise import plain",
        ("analysis.charts has no face",),
    ),
}


@pytest.fixture(scope="module")
def unbroken(sources):
    """What the rules say of the files as they are."""
    return {message for rule in BY_ROOM for message in rule(sources, ROOMS)}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_named_with_its_file_and_what_is_allowed(sources, unbroken, breach):
    path, added, said = BREACHES[breach]
    broken = {**sources, path: f"{sources.get(path, '')}\n{added}\n"}
    messages = [message for rule in BY_ROOM for message in rule(broken, ROOMS) if message not in unbroken]
    start = path if breach != "a face where there is none" else ""
    assert len(messages) == 1 and messages[0].startswith(start) and all(words in messages[0] for words in said), (
        messages
    )


def test_circles_are_found_through_any_import():
    sources = {
        "a/one.py": "def f():\n    from a.two import g",
        "a/two.py": "from .three import h",
        "a/three.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a.one",
        "a/four.py": "from a import one",
    }
    assert architecture.circles(architecture.module_arrows(sources)) == ["a.one → a.two → a.three → a.one"]


def test_a_room_stands_one_floor_above_the_highest_that_it_imports():
    sources = {"a/top.py": "import a.low, a.middle", "a/middle.py": "import a.low", "a/low.py": "import b.other"}
    rooms = dict.fromkeys(("a.top", "a.middle", "a.low", "b.other"), Room(("a", "b")))
    arrows = architecture.room_arrows(sources, rooms)
    assert architecture.floors(arrows) == {"a.low": 1, "a.middle": 2, "a.top": 3, "b.other": 1}
    assert architecture.too_many_floors(arrows, {"a": 2}) == ["a.top stands on floor 3; a has at most 2"]
    circle = architecture.room_arrows({**sources, "a/low.py": "import a.middle"}, rooms)
    assert architecture.too_many_floors(circle, {"a": 9}) == [
        "rooms in a circle stand on no floor: a.low → a.middle → a.low"
    ]


def test_lines_are_counted_with_the_head_and_nested_functions_alone():
    python = "def outer(a,\n          b):\n    def inner():\n        pass\n    return inner\n\n\nclass C:\n    x = 1\n"
    javascript = (
        "export function f({ a = {} } = {}) {\n  const s = `}${g(() => {\n    return '}'; // }\n  })}{`;\n"
        "  if (s) { return /[/}]{/.test(s) / 2; }\n}\nconst h = a => {\n};\nclass D {\n  get x() {\n    return 1; }\n"
        "}\n"
    )
    assert architecture.javascript_functions(javascript) == [(2, 3), (1, 6), (7, 2), (10, 2)]
    sources = {"a.py": python, "a.js": javascript}
    assert architecture.long_parts(sources, 4, 1, 5, ()) == [
        "a.py:1 outer has 5 lines, at most 4",
        "a.py:8 C has 2 lines, at most 1",
        "a.js:1 `export function f({ a = {} } = {}) {` has 6 lines, at most 5",
    ]
    kernel = {"a.py": f"@triton.jit\n{python}"}
    assert architecture.long_parts(kernel, 4, 2, 5, ()) == architecture.long_parts({"a.py": python}, 4, 2, 5, ("a.",))
