"""Every entry of the session is spelled out in one module of the pages alone; the others go through that module."""

import ast
import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import pytest

from analysis.figures import Attention, Look, Recipe, Row, Scale
from tests.pages.small import APP

PAGES = APP.parent / "pages"
MODULES = {path.relative_to(PAGES).as_posix(): path.read_text(encoding="utf-8") for path in PAGES.rglob("*.py")}
# Functions that complete an entry's name: which argument they complete (its place, or its keyword), and to what.
COMPLETED = {
    "kept_upload": ("key", "kept {}"),
    "kept_uploads": ("key", "kept {}"),
    "kept_file": (0, "kept {}"),
    "kept_files": (0, "kept {}"),
    "keep_file": (0, "kept {}"),
    "entry": (0, "figure {}"),
    "get": (0, "figure {}"),
    "put": (0, "figure {}"),
    "keyed": (0, "figure {}"),
    "slider": (5, "lesson {}"),
    "choice": (3, "lesson {}"),
}


FIELDS = {
    f"figure {field.name}" for part in (Recipe, Row, Attention, Scale, Look) for field in dataclasses.fields(part)
}


def is_session(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "session_state"


def named(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """The expressions that name an entry, each with the name that it is completed to, {} for itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_session(node.value):
            yield node.slice, "{}"
        elif isinstance(node, ast.Compare) and any(map(is_session, node.comparators)):
            yield node.left, "{}"
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and is_session(node.func.value) and node.args:
                yield node.args[0], "{}"
            given = dict(enumerate(node.args)) | {keyword.arg: keyword.value for keyword in node.keywords}
            if "key" in given:
                yield given["key"], "{}"
            place, name = COMPLETED.get(node.func.id if isinstance(node.func, ast.Name) else "", ("", ""))
            if place in given:
                yield given[place], name


def assigned(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """What each name of a module is made equal to, anywhere in it."""
    found = defaultdict(list)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = zip(target.elts, node.value.elts, strict=True)
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        found[name.id].append(value)
    return found


def texts(node: ast.expr, values: Mapping[str, list[ast.expr]]) -> Iterable[str]:
    """The strings that an expression may be, with {} for what is unknown of them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(piece.value if isinstance(piece, ast.Constant) else "{}" for piece in node.values)]
    if isinstance(node, ast.Subscript):  # of a table of entries
        return texts(node.value, values)
    if isinstance(node, ast.Name):
        return [text for value in values.get(node.id, ()) for text in texts(value, {})]
    return [text for value in getattr(node, "values", ()) for text in texts(value, values)]


def entries(text: str) -> set[str]:
    """The entries that a module spells out."""
    tree = ast.parse(text)
    values = assigned(tree)
    found = {name.replace("{}", part) for node, name in named(tree) for part in texts(node, values)}
    return {name for name in found if name.strip("{} ")}


@functools.cache
def strings(text: str) -> set[str]:
    return {
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def spelled_twice(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Entry -> the modules, where it is spelled out in several.

    A choice of a figure that is named after its field of the recipe is spelled out there, and its modules count as one.
    Of a name of several words every string that is the same counts, wherever it stands.
    """
    owners = defaultdict(set)
    for module, text in modules.items():
        in_figures = module.startswith("parts/figures/")
        for name in strings(text) if module.endswith("/entries.py") else entries(text):
            owners[name].add("parts/figures" if in_figures and name in FIELDS else module)
    for name, found in owners.items():
        if " " in name:
            found |= {module for module, text in modules.items() if name in strings(text)}
    return {name: found for name, found in owners.items() if len(found) > 1}


def test_every_entry_is_spelled_out_once():
    assert len(set().union(*map(entries, MODULES.values()))) > 60
    assert spelled_twice(MODULES) == {}


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ('st.session_state["model"]', "model"),
        ('st.session_state.pop("lens pins", None)', "lens pins"),
        ('"figure columns" in st.session_state', "figure columns"),
        ('st.toggle("Toggle", key="scene")', "scene"),
        ('NAME = "page"\nst.session_state[NAME] = 1', "page"),
        ('A, B = "some", "visits"\nst.session_state.get(B)', "visits"),
        ('for name, value in {"noise models": []}.items():\n    st.session_state[name] = value', "noise models"),
        ('kept_file("photo")', "kept photo"),
        ('put("colormap", 2)', "figure colormap"),
        ('st.session_state[f"kept {name}"]', "kept {}"),
    ],
)
def test_a_second_spelling_is_found(line, entry):
    [(found, modules)] = spelled_twice({**MODULES, "new.py": line}).items()
    assert found == entry and "new.py" in modules and len(modules) == 2
