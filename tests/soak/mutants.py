"""Would the tests notice a fault? python -m tests.soak.mutants [MODULE …] [--workers 1]

mutmut (its settings stand in pyproject.toml) puts thousands of small faults into the modules that compute attention and
its noise, one at a time: another operator, a constant off by one, an argument left out. Each is tried against those
quick tests that reach the changed function, in a process forked from one that has already imported PyTorch. Says of
each module how many such mutants were killed, and shows those that survived.

Exit code 0 if at least 85 % of each module's mutants were killed. Linux and macOS; the copies lie in mutants/.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

from tests.soak.server import ROOT

LEAST_KILLED = 0.85
# A mutant that never comes to an end is noticed as well as one that fails.
KILLED = ("killed", "timeout")


def mutated_modules() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    return [".".join(Path(file).with_suffix("").parts) for file in settings["only_mutate"]]


def mutmut(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(
        command, cwd=ROOT, check=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **options
    )


def statuses() -> dict[str, str]:
    """Mutant -> killed, timeout, survived, no tests, …"""
    lines = mutmut("results", "--all", "true", stdout=subprocess.PIPE).stdout.splitlines()
    return dict(line.strip().split(": ") for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Mutation testing of the modules that compute attention and its noise."
    )
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help=f"of {', '.join(mutated_modules())}; all by default"
    )
    parser.add_argument("--workers", type=int, default=1, help="mutants tried at the same time")
    options = parser.parse_args()
    modules = options.modules or mutated_modules()
    unknown = set(modules) - set(mutated_modules())
    if unknown:
        parser.error(f"{', '.join(unknown)}: choose of {', '.join(mutated_modules())}")
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    mutmut("run", "--max-children", str(options.workers), *(f"{module}.*" for module in modules))
    found = statuses()
    by_module = {
        module: {name: status for name, status in found.items() if name.rpartition(".")[0] == module}
        for module in modules
    }
    for of_module in by_module.values():
        for name, status in of_module.items():
            if status not in KILLED:
                print(mutmut("show", name, stdout=subprocess.PIPE).stdout, flush=True)
    enough = True
    for module, of_module in by_module.items():
        counts = Counter(of_module.values())
        share = sum(counts[status] for status in KILLED) / counts.total()
        enough = enough and share >= LEAST_KILLED
        words = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        print(f"{module}: {share:.1%} of {counts.total()} mutants killed ({words})")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
