"""What `import analysis` brings along."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = {"torch._dynamo", "sympy", "triton", "matplotlib", "plotly", "streamlit"}


def test_importing_analysis_brings_no_compiler_and_no_plots():
    """PyTorch's compiler takes a second to import, of every notebook's and every command's start."""
    script = f"import sys, analysis; print({HEAVY!r} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
