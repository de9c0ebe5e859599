"""The command `dnl`: the app, training, evaluation, predictions, reports and the rest, by sub-commands.

Each is a command of its own, `python -m dnl.train` and so on, and takes the same options.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from dnl.commands import ask_for_huge_pages, exit_status, show_anything
from dnl.files import VERSION


class _Command(NamedTuple):
    """A module with a function `main`, imported when its command is wanted, and what it does."""

    module: Callable[[], ModuleType]
    does: str


COMMANDS = {
    "train": _Command(lambda: import_module("dnl.train"), "train a network"),
    "average": _Command(
        lambda: import_module("dnl.checkpoints.average"), "write the mean of trainings that follow one another"
    ),
    "evaluate": _Command(lambda: import_module("dnl.evaluate"), "score a checkpoint on a data set"),
    "predict": _Command(lambda: import_module("dnl.predict.__main__"), "label photos or a data set"),
    "report": _Command(lambda: import_module("analysis.report.command"), "measure attention noise over a data set"),
    "figures": _Command(lambda: import_module("analysis.figures.command"), "make the figure of a recipe"),
    "card": _Command(lambda: import_module("analysis.card.command"), "measure a checkpoint into its card"),
    "ablation": _Command(lambda: import_module("dnl.ablation"), "train and score the ablation's networks"),
    "datasets": _Command(lambda: import_module("dnl.datasets.__main__"), "fetch a data set"),
    "export": _Command(lambda: import_module("dnl.export"), "write a checkpoint as ONNX or for torch.export"),
}
TRAINING = ("train", "ablation")
APP = "app"
APP_DOES = "serve the app in the browser"
# Of the app in the installed package, and of the checkout that this file may lie in.
PLACES = ("dnl_app/app.py", "app.py")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(
        prog="dnl",
        description="Denoised Non-local networks: train them, look at their attention, measure its noise.",
        epilog="dnl COMMAND --help tells what a command takes.",
    )
    parser.add_argument("--version", action="version", version=f"denoised-nl {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, does in {APP: APP_DOES, **{name: command.does for name, command in COMMANDS.items()}}.items():
        commands.add_parser(name, help=does, add_help=False)
    given = sys.argv[1:] if arguments is None else arguments
    # What follows the command is for it alone, its --help among it.
    options, _ = parser.parse_known_args(given[:1])
    if options.command == APP:
        return serve(given[1:])
    return COMMANDS[options.command].module().main(given[1:])


def serve(arguments: list[str]) -> int:
    """Serve the app until it is interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="dnl app", description=f"{APP_DOES.capitalize()}; other options go to `streamlit run`."
    )
    parser.add_argument("--port", type=int, default=8501, help="of the page (%(default)s)")
    parser.add_argument("--address", default="localhost", help="that it listens on; 0.0.0.0 for all (%(default)s)")
    options, others = parser.parse_known_args(arguments)
    return exit_status(lambda: _serve(options.port, options.address, others))


def _serve(port: int, address: str, others: list[str]) -> None:
    if find_spec("streamlit") is None:
        raise ValueError("the app needs the package streamlit; install it with: pip install streamlit")
    places = {"--server.port": str(port), "--server.address": address, "--server.headless": "true"}
    settings = [word for setting in places.items() for word in setting]
    command = [sys.executable, "-m", "streamlit", "run", str(app_file()), *settings, *others]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)  # signals reach the server itself
    else:
        subprocess.run(command, check=False)


def app_file() -> Path:
    """The app's entry, in the installed package or in a checkout. Raises ValueError where it lies in neither."""
    root = Path(__file__).resolve().parents[1]
    for place in PLACES:
        file = root / place
        if file.is_file() and (file.parent / "pages" / "explorer.py").is_file():
            return file
    raise ValueError(f"the app's files are not beside {root / 'analysis'}; install the package anew")


def program_main() -> int:
    """`main` as a program of its own, which asks for huge pages where it trains."""
    if sys.argv[1:2] and sys.argv[1] in TRAINING:
        ask_for_huge_pages()
    return main()


if __name__ == "__main__":
    sys.exit(program_main())
