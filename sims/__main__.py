"""Run a simulation by its name, or list them all.

    python -m sims                              # the names, and the question that each one asks
    python -m sims cubic_decay --seeds 20       # the same as: python -m sims.cubic_decay --seeds 20

Exit status: that of the simulation (0 iff no verdict fails), 2 for a name that there is none of.
"""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

from dlinear import report
from dlinear.checks import as_known
from dlinear.runs import script

FILES = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def question(path: Path) -> str:
    """The first line of a simulation's docstring; the file is not run."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def main() -> int:
    """List, or run the one that is named."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(f"{__doc__}\n{report.table(('name', 'question'), [[p.stem, question(p)] for p in FILES])}")
        return 0
    name = as_known("simulation", words[0], [path.stem for path in FILES])
    sys.argv[1:] = words[1:]
    runpy.run_module(f"sims.{name}", run_name="__main__", alter_sys=True)  # ends with its exit status
    return 0


if __name__ == "__main__":
    raise SystemExit(script.command(main))
