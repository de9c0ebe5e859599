"""Train a network: python -m dnl.train --recipe camvid_dnl --data DIR --out RUN [--set key=value …] [--resume]

`--recipe NAME --print` shows the preset, with what --set changes, and says where its values come from.
`dnl.training.runs` says what a run folder holds; the card is inside model.safetensors.
"""

import argparse
import sys
from pathlib import Path

from dnl.attention import without_subnormals
from dnl.commands import ask_for_huge_pages, exit_status, in_one_line, program, show_anything
from dnl.distributed import joined
from dnl.training import (
    RECIPES,
    NonFiniteLoss,
    RunStopped,
    describe,
    is_run,
    override,
    recipe,
    resume,
    start,
    train,
)
from dnl.untrusted import one_line


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(
        prog=program("dnl.train"),
        description="Train a segmentation network, on one device, or on several under torchrun.",
    )
    parser.add_argument("--recipe", required=True, choices=sorted(RECIPES), help="named preset")
    parser.add_argument("--data", help="folder of the data set")
    parser.add_argument("--out", type=Path, help="run folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the recipe"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--print", action="store_true", help="show the recipe and train nothing")
    options = parser.parse_args(arguments)
    if options.out is None and not options.print:
        parser.error("a run needs its folder: name it with --out (or give --print, to see the recipe alone)")
    return exit_status(lambda: _train(options), told=lambda error: fault(error, options.out), also=(NonFiniteLoss,))


def _train(options: argparse.Namespace) -> None:
    if options.print:
        print(describe(options.recipe, override(recipe(options.recipe), options.set)))
        return
    # A young attention's exponentials and gradients hold many numbers that a processor is slow with; threads that begin
    # later take it over.
    with without_subnormals(), joined() as world:
        if options.resume:
            run = resume(options.recipe, options.set, options.out, world)
        else:
            run = start(options.recipe, override(recipe(options.recipe), options.set), options.out, world)
        train(run, data=options.data, world=world)


def fault(error: BaseException, out: Path | None) -> str:
    """What ended a run, in one sentence that also says how it goes on."""
    kept = out is not None and is_run(out)
    finished = f"every finished epoch is kept in {one_line(str(out), 120)}"
    goes_on = f"{finished}: go on with --resume"
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted; {goes_on}" if kept else "interrupted before the run began"
    if kept and isinstance(error, OSError | NonFiniteLoss):
        return f"{in_one_line(error)}; {goes_on}"
    if kept and isinstance(error, RunStopped):
        return f"{in_one_line(error)}; {finished}: mend it and go on with --resume"
    return in_one_line(error)


def program_main() -> int:
    """`main` as a program of its own, which asks for huge pages."""
    ask_for_huge_pages()
    return main()


if __name__ == "__main__":
    sys.exit(program_main())
