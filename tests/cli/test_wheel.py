"""The wheel: what it holds, and the main job run from it, outside the checkout."""

import os
import sys
import zipfile

import children
import pytest
from paths import ROOT

LIBRARY = sorted(p for p in (ROOT / "dlinear").rglob("*.py") if "__pycache__" not in p.parts)
SCRIPTS = ("proofs", "sims", "paper_figs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = children.run([sys.executable, *words])
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """(folder with the unpacked wheel alone, another folder to work in)."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site, tmp_path_factory.mktemp("elsewhere")


def run(installed, *words):
    """`dlinear words` from the wheel; the checkout is nowhere on the path."""
    site, folder = installed
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "100", "PYTHONSAFEPATH": "1"}
    return children.run([sys.executable, "-m", "dlinear", *words], cwd=folder, env=environment)


def test_it_holds_the_library_and_below_it_the_scripts(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"dlinear"}
    packed = {name for name in names if name.endswith(".py")}
    carried = {f"dlinear/scripts/{p.relative_to(ROOT)}" for f in SCRIPTS for p in (ROOT / f).rglob("*.py")}
    assert packed == {str(p.relative_to(ROOT)) for p in LIBRARY} | carried
    assert any(name.startswith("dlinear/scripts/proofs/coq/") for name in names)
    assert "dlinear/py.typed" in names
    assert not [name for name in names if "__pycache__" in name]


def test_an_editable_install_holds_no_second_copy(tmp_path):
    """A folder dlinear/ in site-packages would hide the checkout from everything outside it."""
    code = f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})"
    built = children.run([sys.executable, "-c", code], cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith("dlinear/")]


@pytest.mark.slow
def test_the_main_job_runs_outside_the_checkout(installed):
    site, folder = installed
    told = run(installed, "info")
    assert told.returncode == 0, told.stderr
    assert f"in {site / 'dlinear'}" in told.stdout
    assert str(site / "dlinear" / "scripts") in told.stdout

    proved = run(installed, "prove", "eq_9")
    assert proved.returncode == 0, proved.stderr
    assert (folder / "results" / "certificates" / "eq_9.json").is_file()
    assert run(installed, "prove", "--check", "results/certificates/eq_9.json").returncode == 0

    missing = run(installed, "fig", "theorem_a")
    assert missing.returncode == 1
    assert "run: dlinear sim theorem_a" in missing.stderr
    words = ["--depth", "40", "--width", "3", "--seeds", "2", "--points", "8", "--workers", "2"]
    simulated = run(installed, "sim", "theorem_a", *words)
    assert simulated.returncode == 0, simulated.stderr
    assert "supported: " in simulated.stdout
    drawn = run(installed, "fig", "theorem_a")
    assert drawn.returncode == 0, drawn.stderr
    assert (folder / "figures" / "theorem_a.pdf").is_file()
    assert sorted(p.name for p in folder.iterdir()) == ["figures", "results"]
