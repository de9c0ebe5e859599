"""The documentation: no dead link, every page in the site's contents, Python that runs, commands that exist."""

import importlib
import os
import re
import shlex
import sys
import types
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *PAGES)}
README_LINES = 150
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"python -m ((?:dnl|analysis|benchmarks|tests)(?:\.\w+)*)(.*)")
MADE_BY_THE_BUILD = {"docs/lens.html"}


def prose(text: str) -> str:
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """The headings' names in an address, as Markdown readers make them."""
    names = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    plain = (
        unicodedata.normalize("NFKD", re.sub(r"[`*]", "", name)).encode("ascii", "ignore").decode() for name in names
    )
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", name).strip().lower()) for name in plain}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    dead = []
    for link in LINK.findall(prose(TEXTS[name])):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = os.path.normpath(Path(name).parent / file) if file else name
        if (target not in MADE_BY_THE_BUILD and not (ROOT / target).is_file()) or (
            anchor and anchor not in anchors(TEXTS[target])
        ):
            dead.append(link)
    assert not dead


def test_the_contents_hold_each_page_once():
    listed = re.findall(r": ([\w/-]+\.md)$", (DOCS / "site" / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= README_LINES


def blocks(name: str, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall(TEXTS[name]) if kind == language]


def indented(text: str) -> list[str]:
    return re.findall(r"^ {4}(.+)$", prose(text), re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "README.md" and blocks(name, "python")])
def test_python_runs(name, tmp_path, monkeypatch):
    """All blocks of a page, one after another, in an empty folder. The README's are parts of what the pages show."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for number, code in enumerate(blocks(name, "python"), start=1):
        exec(compile(code, f"{name}, block {number}", "exec"), vars(module))


def commands() -> dict[str, set[str]]:
    """Module -> the options that the documentation gives it."""
    found: dict[str, set[str]] = {}
    for name, text in TEXTS.items():
        lines = indented(text) + [
            line for kind in ("bash", "") for code in blocks(name, kind) for line in code.splitlines()
        ]
        for module, rest in COMMAND.findall("\n".join(lines)):
            options = {word for word in shlex.split(rest, comments=True) if re.fullmatch(r"--[a-z][\w-]*", word)}
            found.setdefault(module, set()).update(options)
    return found


@pytest.mark.parametrize("module", commands())
def test_commands_know_their_options(module, capsys, monkeypatch):
    given = commands()[module]
    if module.startswith(("tests", "benchmarks")):
        assert importlib.util.find_spec(module)
        return
    command = importlib.import_module(
        f"{module}.__main__" if hasattr(importlib.import_module(module), "__path__") else module
    )
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert not ended.value.code
    known = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
    assert given <= known
