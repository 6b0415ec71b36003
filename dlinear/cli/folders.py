"""Where proofs, simulations and figures lie: beside the library in a checkout, inside it in the wheel."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from dlinear.errors import MissingDependencyError

LIBRARY = Path(__file__).resolve().parents[1]
FOLDERS = ("proofs", "sims", "paper_figs")


def home() -> Path:
    """The folder that holds `FOLDERS`.

    Raises:
        MissingDependencyError: neither the checkout nor the wheel's copy is there.
    """
    for place in (LIBRARY.parent, LIBRARY / "scripts"):
        if all((place / folder / "__main__.py").is_file() for folder in FOLDERS):
            return place
    raise MissingDependencyError(
        f"{', '.join(FOLDERS)} are neither beside nor inside {LIBRARY}: install the wheel or use a checkout"
    )


def importable() -> None:
    """Let `import sims.X` find ours, whatever the current folder holds; spawned processes inherit it."""
    place = str(home())
    if place in sys.path:
        sys.path.remove(place)
    sys.path.insert(0, place)


def names(folder: str) -> list[str]:
    """The scripts of a folder, by name."""
    return sorted(p.stem for p in (home() / folder).glob("*.py") if not p.stem.startswith("_"))


def question(folder: str, name: str) -> str:
    """The first line of a script's docstring; the file is not run."""
    text = (home() / folder / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
