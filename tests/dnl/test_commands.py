"""How commands end: nothing that users do ends one with more than a line, or with another status than 1 or 130."""

import importlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dnl
from dnl.commands import exit_status, in_one_line, show_anything

# Of each command: its module, fitting arguments, and what it calls first in there.
COMMANDS = {
    "train": ("dnl.train", ["--recipe", "camvid_dnl", "--out", "OUT/run"], "start"),
    "evaluate": ("dnl.evaluate", ["--checkpoint", "camvid-dnl", "--dataset", "streets"], "load_checkpoint"),
    "ablation": ("dnl.ablation", ["--out", "OUT"], "run_all"),
    "export": ("dnl.export", ["--checkpoint", "camvid-dnl", "--out", "OUT/a.pt2"], "load_checkpoint"),
    "datasets": ("dnl.datasets.__main__", ["fetch", "camvid", "--to", "OUT"], "fetch_camvid"),
    "report": (
        "analysis.report.command",
        ["--checkpoint", "camvid-dnl", "--dataset", "streets", "--out", "OUT"],
        "open_networks",
    ),
    "figures": ("analysis.figures.command", ["OUT/recipe.json", "OUT/a.pdf"], "write_figure"),
    "card": ("analysis.card.command", ["--checkpoint", "camvid-dnl", "--data", "OUT"], "checkpoint_path"),
    "noise of the ablation": ("analysis.ablation", ["--runs", "OUT"], "finished_runs"),
}
KEPT = "what is finished is kept in OUT: the same command goes on"
INTERRUPTED = {
    "train": "interrupted before the run began",
    "ablation": f"interrupted; {KEPT}",
    "datasets": "Interrupted; what was downloaded is kept: run the same command again to go on.",
    "report": "interrupted: finished images are kept in OUT/records; run the same command again to go on",
}


@pytest.fixture
def ended(monkeypatch, tmp_path, capsys):
    """ended(name, error) is the status and the line of a command in which that error is raised."""

    def run(name, error):
        module, arguments, first = COMMANDS[name]

        def fail(*_, **__):
            raise error

        monkeypatch.setattr(f"{module}.{first}", fail)
        status = importlib.import_module(module).main([part.replace("OUT", str(tmp_path)) for part in arguments])
        output = capsys.readouterr()
        assert output.out == "" and output.err.count("\n") == 1
        return status, output.err.removesuffix("\n").replace(str(tmp_path), "OUT")

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupt_ends_every_command_with_130(name, ended):
    assert ended(name, KeyboardInterrupt()) == (130, INTERRUPTED.get(name, "interrupted"))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("no\nsuch thing"), "error: no such thing"), (OSError(28, "disk full", "a"), "error: a: disk full")],
    ids=["of value", "of the system"],
)
def test_an_error_ends_every_command_with_1_and_one_line(name, error, line, ended):
    assert ended(name, error) == (1, f"{line}; {KEPT}" if name == "ablation" else line)


def test_a_process_starts_anew_once_where_linux_gives_huge_pages_to_those_who_ask(tmp_path):
    (tmp_path / "setting").write_text("always [madvise] never\n")
    # A bare package in place of dnl itself, which would import PyTorch at each of these starts.
    program = (
        "import os, pathlib, sys, types; sys.modules['dnl'] = types.ModuleType('dnl'); "
        f"sys.modules['dnl'].__path__ = [{str(Path(dnl.__file__).parent)!r}]; "
        "from dnl.commands import ask_for_huge_pages; print('began', flush=True); "
        "ask_for_huge_pages(pathlib.Path(sys.argv[1])); print(sys.argv[1:], os.environ.get('GLIBC_TUNABLES'))"
    )

    def said(setting: str, tunables: dict[str, str]) -> list[str]:
        environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"} | tunables
        command = [sys.executable, "-c", program, str(tmp_path / setting), "a b"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    arguments = [str(tmp_path / "setting"), "a b"]
    asking = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184"
    assert said("setting", {}) == ["began", "began", f"{arguments} {asking}"]
    other = "glibc.malloc.tcache_count=7"
    assert said("setting", {"GLIBC_TUNABLES": other}) == ["began", "began", f"{arguments} {other}:{asking}"]
    off = "glibc.malloc.hugetlb=0"
    assert said("setting", {"GLIBC_TUNABLES": off}) == ["began", f"{arguments} {off}"]
    (tmp_path / "setting").write_text("[always] madvise never\n")
    assert said("setting", {}) == ["began", f"{arguments} None"]
    assert len(said("nothing", {})) == 2


def test_work_that_is_done_is_status_0_and_other_exceptions_pass_through(capsys):
    assert exit_status(lambda: "whatever it returns") == 0
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 / 0)
    assert capsys.readouterr().err == ""
    assert exit_status(lambda: 1 / 0, also=(ZeroDivisionError,)) == 1
    assert capsys.readouterr().err == "error: division by zero\n"


def test_the_line_may_be_the_command_s_own(capsys):
    assert exit_status(lambda: int("x"), told=lambda error: f"{in_one_line(error)}, alas") == 1
    assert capsys.readouterr().err.endswith("'x', alas\n")
    assert in_one_line(KeyboardInterrupt(), "stopped") == "stopped"
    assert in_one_line(ValueError("x"), "stopped") == "error: x"


def test_a_terminal_that_lacks_a_letter_shows_it_as_an_escape(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", terminal)
    show_anything()
    print("Straße 道路")
    terminal.flush()
    assert terminal.buffer.getvalue().decode("cp1252").strip() == "Straße \\u9053\\u8def"


@pytest.mark.parametrize("name", COMMANDS)
def test_arguments_that_a_terminal_cannot_show_end_in_a_line(name, monkeypatch):
    module, arguments, _ = COMMANDS[name]
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(module).main([*arguments, "道路"])
    terminal.flush()
    assert b"\\u9053\\u8def" in terminal.buffer.getvalue()
