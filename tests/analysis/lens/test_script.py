"""The lens's script: one scope without a name twice, behind the settings that are written in Python alone."""

import collections
import importlib
import json
import pkgutil
import re
from pathlib import Path

import pytest

import analysis.lens
from analysis import noise, options, words
from analysis.lens import figure_preview, noise_map, script
from analysis.lens.script import COMPUTING, SCRIPT, SETTINGS, SHOWING, WORKER, joined
from tests.analysis.lens.assemble import SOURCE, assembled

FOLDER = Path(script.__file__).parent / "browser"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.js"))}
DECLARED = re.compile(r"^(?:export (?:default )?)?(?:async )?(?:function\*? |const |let )(\w+)", re.MULTILINE)


def test_the_settings_stand_in_front_and_can_be_read():
    first, rest = SCRIPT.split("\n", 1)
    value = first.removeprefix("const SETTINGS = ").removesuffix(";")
    assert json.loads(value) == json.loads(json.dumps(SETTINGS))
    compiled, computing = rest.lstrip().split("\n", 1)
    assert compiled.startswith('const ROWS_WASM = "AGFzbQ')  # "\\0asm"
    assert computing.lstrip().startswith(joined(COMPUTING)[:40])


def test_the_script_may_stand_inside_an_html_page():
    assert "</script" not in SCRIPT.lower() and "<!--" not in SCRIPT
    assert script._in_script("</script>") == '"\\u003c/script>"'


def test_every_file_is_used_and_no_name_is_declared_twice():
    scopes = {
        "lens": (*COMPUTING, *SHOWING, "standalone.js"),
        "notebook": (*COMPUTING, *SHOWING, "widget.js"),
        "worker": (*COMPUTING, WORKER),
        "noise map": ("geometry.js", "controls.js", "noise_map.js"),
        "figure preview": ("controls.js", "preview.js"),
    }
    assert {name for names in scopes.values() for name in names} == set(SOURCES)
    for scope, names in scopes.items():
        declared = collections.Counter(DECLARED.findall(joined(names)))
        assert [name for name, count in declared.items() if count > 1] == [], scope
    assert noise_map.SCRIPT == joined(scopes["noise map"])
    assert figure_preview.SCRIPT == joined(scopes["figure preview"])


def test_every_choice_stage_and_figure_has_its_words():
    said = SETTINGS["words"]
    assert tuple(said["gates"]) == SETTINGS["choices"]["gate"]["values"] == ("off", *options.GATES)
    assert tuple(said["retentions"]) == SETTINGS["choices"]["retention"]["values"]
    assert tuple(said["directions"]) == SETTINGS["looks"]["direction"]["values"]
    assert list(said["stages"]) == list(said["differences"]) == list(options.STAGES)
    assert list(said["figures"]) == ["interclassNoise", "intraclassNoise", "hollowFraction", "keptMass"]


# --- what both languages know is written once ------------------------------------------------------------------------


def python_constants() -> dict[str, object]:
    """NAME -> value of every constant of the lens, the options and the noise."""
    modules = [
        importlib.import_module(f"analysis.lens.{found.name}") for found in pkgutil.iter_modules(analysis.lens.__path__)
    ]
    return {
        name: value
        for module in (options, noise, words, *modules)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int | float | str | tuple | list | dict)
    }


def texts_of(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for child in children for text in texts_of(child)]


def lists_in(source: str) -> list[list]:
    """The lists of texts or numbers that a script writes out."""
    found = re.findall(r"\[[^\[\]{}()`;=]*\]", source)
    readable = []
    for text in found:
        try:
            readable.append(json.loads(re.sub(r",\s*\]", "]", text)))
        except json.JSONDecodeError:
            continue
    return readable


def twice_written(source: str) -> list[str]:
    """What a script writes out though Python has it: constants by name, lists and texts by value."""
    constants = python_constants()
    named = re.findall(r"^(?:export )?const ([A-Z][A-Z_0-9]+) = ([-\d.e\"'\[{].*)", source, re.MULTILINE)
    found = [name for name, _ in named if name in constants]
    lists = [list(value) for value in constants.values() if isinstance(value, tuple) and len(value) > 1]
    found += [str(one) for one in lists_in(source) if one in lists]
    said = {text for text in texts_of(SETTINGS["words"]) if " " in text and len(text) > 20}
    plain = re.sub(r'"\s*\+\s*"', "", source)
    return found + [text for text in said if text in plain]


@pytest.mark.parametrize("name", SOURCES)
def test_the_script_writes_nothing_that_python_has(name):
    assert twice_written(SOURCES[name]) == []


@pytest.mark.parametrize(
    "line",
    [
        "const EMPTIED = 1e-6;",
        "export const FORMAT = 2;",
        'const STEPS_OF = ["raw", "rectified", "retained"];',
        "const sizes = [3, 5, 7];",
        'const NOTE = "1 where the true labels agree: " +\n  "the best that any gate could do.";',
    ],
)
def test_a_constant_written_again_is_found(line):
    assert len(twice_written(line)) == 1


def test_the_compiled_rows_are_those_of_their_source():
    assert SOURCE.with_suffix(".wasm").read_bytes() == assembled()
