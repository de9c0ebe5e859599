"""Fetch a data set: python -m dnl.datasets fetch camvid --to DIR"""

import argparse
import sys
from pathlib import Path

from dnl.datasets.base import DatasetError
from dnl.datasets.fetch import CAMVID_COUNTS, CAMVID_URL, fetch_camvid
from dnl.untrusted import error_line


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dnl.datasets", description="Fetch a data set.")
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="download a data set, check it and unpack it")
    fetch.add_argument(
        "data_set", choices=["camvid"], metavar="camvid", help="the data set; others need a registration"
    )
    fetch.add_argument("--to", required=True, type=Path, metavar="DIR", help="folder for the data set")
    fetch.add_argument("--url", default=CAMVID_URL, help="address of the repository's ZIP archive (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        fetch_camvid(options.to, options.url)
    except KeyboardInterrupt:
        print("Interrupted; what was downloaded is kept: run the same command again to go on.", file=sys.stderr)
        return 130
    except (DatasetError, OSError) as error:
        print(f"error: {error_line(error)}", file=sys.stderr)
        return 1
    counts = ", ".join(f"{count} {split}" for split, count in CAMVID_COUNTS.items())
    print(f"CamVid is in {options.to}: {counts} images with their labels. It is free for research use.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
