"""Run the documentation: python -m tests.soak.docs

Every block of Python and of commands (```bash) of every page, one after another in a folder of the page's own. Commands
that are indented instead take hours or another machine, and are not run: tests/test_docs.py checks their options.
"""

import os
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path

from tests.test_docs import FENCE, ROOT, TEXTS

COMMANDS_END = 600  # seconds


def run_page(name: str, folder: str) -> int:
    """Run a page's blocks in `folder`; how many there were. Raises what goes wrong."""
    os.chdir(folder)
    sys.modules["page"] = module = types.ModuleType("page")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    blocks = [(kind, code) for kind, code in FENCE.findall(TEXTS[name]) if kind in ("python", "bash")]
    for number, (kind, code) in enumerate(blocks, start=1):
        if kind == "python":
            exec(compile(code, f"{name}, block {number}", "exec"), vars(module))
        else:
            environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
            subprocess.run(["bash", "-euc", code], env=environment, check=True, timeout=COMMANDS_END)
    return len(blocks)


def main() -> None:
    """All pages but the README, whose blocks are parts of what they show."""
    for name in TEXTS:
        if name != "README.md" and re.search(r"^```(python|bash)$", TEXTS[name], re.MULTILINE):
            with tempfile.TemporaryDirectory() as folder:
                print(f"{name}: {run_page(name, folder)} blocks ran", flush=True)
                os.chdir(ROOT)


if __name__ == "__main__":
    main()
