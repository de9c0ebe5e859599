"""Fetch a data set: python -m dnl.datasets fetch camvid --to DIR"""

import argparse
import sys
from functools import partial
from pathlib import Path

from dnl.commands import exit_status, in_one_line, program, show_anything
from dnl.datasets.fetch import CAMVID_COUNTS, CAMVID_URL, fetch_camvid

INTERRUPTED = "Interrupted; what was downloaded is kept: run the same command again to go on."


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(prog=program("dnl.datasets"), description="Fetch a data set.")
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="download a data set, check it and unpack it")
    fetch.add_argument(
        "data_set", choices=["camvid"], metavar="camvid", help="the data set; others need a registration"
    )
    fetch.add_argument("--to", required=True, type=Path, metavar="DIR", help="folder for the data set")
    fetch.add_argument("--url", default=CAMVID_URL, help="address of the repository's ZIP archive (%(default)s)")
    options = parser.parse_args(arguments)
    return exit_status(lambda: _fetch(options), told=partial(in_one_line, interrupted=INTERRUPTED))


def _fetch(options: argparse.Namespace) -> None:
    fetch_camvid(options.to, options.url)
    counts = ", ".join(f"{count} {split}" for split, count in CAMVID_COUNTS.items())
    print(f"CamVid is in {options.to}: {counts} images with their labels. It is free for research use.")


if __name__ == "__main__":
    sys.exit(main())
