"""The rules that keep the tree readable: direction of imports, folders, a light import, a small wheel."""

from __future__ import annotations

import ast
import itertools
import re
import sys
from pathlib import Path

import children
import pytest
from paths import ROOT

SCRIPTS = ("proofs", "sims", "paper_figs")
LIBRARY = sorted(p for p in (ROOT / "dlinear").rglob("*.py") if "__pycache__" not in p.parts)

GROUND = {"checks", "errors", "optional", "storage"}  # loose modules, which every room may use

# Each room, in order, and the rooms that it may import beside itself and the ground.
ROOMS: dict[str, set[str]] = {
    "networks": set(),
    "data": {"networks"},
    "theory": {"networks"},
    "engine": {"networks", "theory"},
    "dynamics": {"networks", "theory", "engine"},
    "runs": {"networks", "data", "theory", "engine"},
    "analysis": {"networks", "theory", "engine", "runs"},
    "certify": {"theory"},
    "report": {"runs", "analysis", "certify"},
    "selection": {"theory"},
    "bridge": {"networks", "data", "theory", "engine", "runs", "analysis", "certify", "report", "selection"},
    "rules": {"runs", "analysis", "report", "bridge"},
    "cli": {"runs", "certify", "report"},
}
# What a verdict rests on, beside the standard library.
TRUSTED = {"dlinear.certify.trusted", "dlinear.optional"}
TORCH = (
    "bridge/",
    "rules/",
    "cli/information.py",
    "engine/backends.py",
    "engine/parallel/",
    "networks/philox_torch.py",
)  # may use torch
HEAVY = ("torch", "matplotlib", "sympy", "flint", "scipy", "sklearn", "xarray", "tyro", "tqdm", "pooch")
HEAVY += ("llvmlite",)


def imports(path: Path, *, everywhere: bool = True) -> set[str]:
    """Dotted names that a file imports; without `everywhere`, only those that run on import of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import) and (everywhere or not inside):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and (everywhere or not inside):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, inside or isinstance(node, ast.FunctionDef | ast.Lambda))

    visit(tree, False)
    return found


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_the_top_level_is_the_agreed_one():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    made = {"results", "figures", "data", "build", "dist", "shared"}
    assert folders - made <= {"dlinear", "proofs", "sims", "tests", "paper_figs", "benchmarks", "docs"}


def test_script_folders_are_not_packages():
    for folder in (*SCRIPTS, "tests"):
        assert not (ROOT / folder / "__init__.py").exists()


def room_of(module: str) -> str:
    """The room of a dotted name of the library, "" of the package itself; a loose module is its own."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def dotted(path: Path) -> str:
    """A file of the library as a module's name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules_of(path: Path) -> set[str]:
    """The modules of the library that a file imports (a name imported from a module is no module)."""
    known = {dotted(p) for p in LIBRARY}
    return {name for name in imports(path) if name in known}


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_never_imports_scripts_or_tests(path):
    assert not roots(imports(path)) & {*SCRIPTS, "tests", "reference", "strategies", "benchmarks"}
    inside = str(path.relative_to(ROOT / "dlinear"))
    if not inside.startswith(TORCH):
        assert "torch" not in roots(imports(path))
    assert "triton" not in roots(imports(path)) or inside.endswith("_triton.py"), "kernels stand apart"
    if not inside.startswith(("bridge/", "rules/")):
        assert "torch" not in roots(imports(path, everywhere=False)), "torch is imported when it is used"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_before_it(path):
    room = room_of(dotted(path))
    if not room:
        return
    used = {room_of(name) for name in modules_of(path)} - {"", room}
    assert used <= (GROUND if room in GROUND else GROUND | ROOMS.get(room, used)), used


def test_no_two_rooms_import_each_other():
    order = list(ROOMS)
    assert all(order.index(other) < order.index(room) for room, others in ROOMS.items() for other in others)


def test_contributing_shows_the_table_of_the_rooms():
    """The lines `| room | what it holds | rooms it may import |`, in the order of ROOMS."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [re.findall(r"`(\w+)/`", line) for line in text.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == list(ROOMS)
    for room, *others in rows:
        assert others == [other for other in ROOMS if other in ROOMS[room]], room
    folders = {p.name for p in (ROOT / "dlinear").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders - GROUND == set(ROOMS)
    assert all((f"`{name}/`" if name in folders else f"`{name}.py`") in text for name in GROUND)


@pytest.mark.parametrize("folder", ["dlinear", "dlinear/bridge"])
def test_few_modules_stand_outside_the_rooms(folder):
    loose = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    assert len(loose) <= 6, sorted(loose)


def edges(known: dict[str, Path]) -> dict[str, set[str]]:
    """What each module imports when it is imported; a module imported from a package counts as itself."""
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        used: set[str] = set()
        for node in import_statements(path):
            if isinstance(node, ast.Import):
                used.update(alias.name for alias in node.names)
            else:
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                used |= (whole & set(known)) | ({node.module or ""} if whole - set(known) else set())
        found[name] = used & set(known) - {name}
    return found


def import_statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Those that run when the file is imported."""
    found: list[ast.Import | ast.ImportFrom] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    left = {name: set(others) for name, others in graph.items()}
    while ready := [name for name, others in left.items() if not others & set(left)]:
        for name in ready:
            del left[name]
    return sorted(left)


def test_no_module_imports_itself_by_way_of_others():
    known = {dotted(path): path for path in LIBRARY}
    graph = edges(known)
    assert sum(map(len, graph.values())) > 200
    assert not circle(graph)
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]


def test_no_function_is_longer_than_a_screen():
    """60 lines with the docstring, here and in the scripts."""
    long = []
    for folder in ("dlinear", *SCRIPTS, "benchmarks", "docs/templates"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    if lines > 60:
                        long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}, {lines} lines")
    assert not long, "\n".join(long)


def repeated(paths: list[Path], least: int) -> list[str]:
    """Pairs of consecutive statements, `least` characters or more, that stand in two places."""
    seen: dict[str, set[str]] = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            body = getattr(node, "body", None)
            if isinstance(node, ast.Module) or not isinstance(body, list):
                continue
            for pair in itertools.pairwise(body):
                text = "\n".join(map(ast.unparse, pair))
                if len(text) >= least and not text.startswith(("'", '"', "import", "from")):
                    seen.setdefault(text, set()).add(f"{path.name}:{pair[0].lineno}")
    return [f"{sorted(places)}\n{text}" for text, places in seen.items() if len(places) > 1]


@pytest.mark.parametrize("where", ["dlinear/theory/bounds/*.py", "sims/*.py", "paper_figs/*.py"])
def test_a_bound_and_a_step_of_a_script_are_written_once(where):
    paths = sorted(ROOT.glob(where))
    assert paths, where
    found = repeated(paths, 60)
    assert not found, "\n\n".join(found)


def test_only_the_helper_starts_processes_in_tests():
    """It ends them with all their children, also where a test fails or runs out of time."""
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name != "children.py":
            assert "subprocess" not in roots(imports(path)), path


def test_only_plotting_imports_matplotlib():
    for path in LIBRARY:
        if path.name != "plotting.py":
            assert "matplotlib" not in roots(imports(path)), path


@pytest.mark.parametrize("folder", SCRIPTS)
def test_scripts_import_the_library_and_never_each_other(folder):
    for path in (ROOT / folder).glob("*.py"):
        assert not roots(imports(path)) & ({*SCRIPTS, "tests"} - {folder}), path


TRUSTED_FILES = sorted((ROOT / "dlinear" / "certify" / "trusted").glob("*.py"))


@pytest.mark.parametrize("path", TRUSTED_FILES, ids=lambda p: p.name)
def test_what_a_verdict_rests_on_imports_nothing_else(path):
    """A certificate is checked by code that does not know how it was made."""
    inside = {name for name in imports(path) if name.split(".")[0] == "dlinear"}
    assert all(name.startswith(tuple(TRUSTED)) for name in inside), inside
    assert roots(imports(path)) - {"dlinear"} <= {*sys.stdlib_module_names, "flint"}


def test_importing_dlinear_loads_nothing_heavy():
    code = f"import sys, dlinear; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = children.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_public_names_exist_and_are_documented():
    import dlinear

    for name in dlinear.__all__:
        assert getattr(dlinear, name).__doc__, name
    assert callable(dlinear.alignment), "the function, also after `import dlinear.alignment`"
