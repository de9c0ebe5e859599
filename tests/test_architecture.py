"""The packages' import arrows, and a docstring in every module."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("dnl", "analysis", "pages", "benchmarks", "app")
MODULES = sorted([ROOT / "app.py", *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))])

# The modules that stay arrays in, arrays out, so that they can be read, tested and reused alone.
PURE = (
    "dnl.attention.class_sorted",
    "dnl.attention.fused",
    "dnl.attention.matrix_product",
    "dnl.attention.parallel",
    "dnl.attention.retention",
    "dnl.attention.stages",
    "dnl.attention.streamed",
    "dnl.metrics",
    "analysis.geometry",
    "analysis.intervals",
    "analysis.maps",
    "analysis.noise.classes",
    "analysis.noise.detection",
    "analysis.noise.query",
    "analysis.noise.whole_map",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, at_run_time: bool = False) -> set[str]:
    """Dotted names of all modules that a file imports anywhere, relative imports resolved.

    at_run_time: leave out what stands under `if TYPE_CHECKING`.
    """
    package = path.relative_to(ROOT).parent.parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if at_run_time:
        tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and is_type_checking(node.test))]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join((*base, *filter(None, [node.module])))
            # `from dnl import attention` imports a module as well as a name.
            names = {f"{source}.{alias.name}" for alias in node.names}
            found |= {source, *(name for name in names if is_module(name))}
    return found


def is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_module_has_a_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_from_pages_to_analysis_to_dnl(path):
    forbidden = {
        "dnl": {"analysis", "pages", "app", "benchmarks", "tests", "streamlit", "matplotlib", "plotly"},
        "analysis": {"pages", "app", "benchmarks", "tests", "streamlit"},
        "pages": {"app", "benchmarks", "tests"},
        "app": {"benchmarks", "tests"},
        "benchmarks": {"pages", "app", "tests", "streamlit"},
    }[path.relative_to(ROOT).with_suffix("").parts[0]]
    assert not packages(imports(path)) & forbidden


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_only_arrays_and_each_other(name):
    found = imports(ROOT.joinpath(*name.split(".")).with_suffix(".py"), at_run_time=True)
    ours = {"dnl", "analysis"}
    assert packages(found) <= {"numpy", "torch", "triton", *ours, *sys.stdlib_module_names}
    assert {module for module in found if packages({module}) <= ours} <= {*PURE, *ours, "dnl.attention"}
