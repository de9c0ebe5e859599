"""The command `dnl`: which command it hands over to, and how it serves the app."""

import os
import sys

import pytest

from analysis import command


def ended(arguments, capsys):
    """The exit status of a command that ends by itself, and what it said."""
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    said = capsys.readouterr()
    return end.value.code, said.out + said.err


def test_it_lists_its_commands_and_says_its_version(capsys):
    code, said = ended(["--help"], capsys)
    assert code == 0
    assert all(f"    {name} " in said for name in ("app", *command.COMMANDS))
    assert ended(["--version"], capsys)[1].startswith("denoised-nl ")
    assert ended([], capsys)[0] == 2
    assert "invalid choice: 'trian'" in ended(["trian"], capsys)[1]


@pytest.mark.parametrize("name", command.COMMANDS)
def test_what_follows_a_command_is_for_it_alone_and_it_is_called_as_it_was_started(name, capsys, monkeypatch):
    started = {("/bin/dnl", name): f"dnl {name} ", (f"dnl-{name}.exe",): f"dnl-{name} ", ("x.py",): "python -m "}
    for words, called in started.items():
        monkeypatch.setattr(sys, "argv", [*words, "--help"])
        code, said = ended([name, "--help"], capsys)
        assert code == 0 and said.startswith(f"usage: {called}")


def test_the_exit_status_is_the_commands(capsys):
    given = ["evaluate", "--checkpoint", "nosuch", "--dataset", "streets"]
    assert command.main(given) == 1
    assert "no checkpoint 'nosuch'" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the server is a process of its own")
def test_the_app_is_served_from_its_file_and_options_go_to_streamlit(monkeypatch):
    ran = []
    monkeypatch.setattr(os, "execv", lambda program, words: ran.append((program, words)))
    assert command.main(["app", "--port", "8600", "--server.baseUrlPath", "lens"]) == 0
    ((program, words),) = ran
    assert program == words[0] == sys.executable and words[1:4] == ["-m", "streamlit", "run"]
    assert words[4] == str(command.app_file()) and words[4].endswith("app.py")
    assert words[5:] == [
        *("--server.port", "8600", "--server.address", "localhost", "--server.headless", "true"),
        *("--server.baseUrlPath", "lens"),
    ]


def test_an_app_that_is_not_there_is_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "__file__", str(tmp_path / "analysis" / "command.py"))
    (tmp_path / "app.py").write_text("# of another program")
    assert command.main(["app"]) == 1
    assert "install the package anew" in capsys.readouterr().err
