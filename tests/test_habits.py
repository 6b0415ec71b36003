"""What a contributor runs: the hooks are `make lint`, targets exist, packages are pinned."""

from __future__ import annotations

import importlib
import re
import tomllib

import pytest
import yaml
from paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BIN = re.search(r"^BIN := (.*)$", MAKEFILE, re.MULTILINE)[1]


def recipe(target):
    """The commands of a target of the Makefile, as they are run."""
    lines = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    return [line.strip().replace("$(BIN)", BIN) for line in lines.splitlines()]


def test_the_hooks_run_the_commands_of_make_lint_and_download_nothing():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    hooks = repository["hooks"]
    assert [hook["entry"] for hook in hooks] == recipe("lint")
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in hooks} == {"system"}
    assert not any(hook["pass_filenames"] for hook in hooks), "the commands name what they look at"


def test_every_target_is_explained_and_every_explained_target_exists():
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
    assert phony == set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    told = set(re.findall(r'@echo "make ([a-z-]+)  ', MAKEFILE))
    assert {"test", "fast", "coverage", "lint", "dead-code", "docs", "clean"} <= told <= phony
    text = "".join(
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("README.md", "CONTRIBUTING.md", "docs/guide.md")
    )
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= phony


@pytest.mark.parametrize("extra", ["", "test", "cluster", "fast", "zoo", "browser", "site", "lint"])
def test_every_package_is_pinned(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    unpinned = {re.match(r"[\w-]+", item)[0] for item in wanted} - pinned
    assert unpinned <= {"build", "hatchling"}, "tools that build, of which any version does"


DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


def resolved(name):
    """A dotted name as the object that it names: the longest part that is a module, then attributes."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            found = getattr(found, attribute)
        return found
    raise AttributeError(name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_names_and_files_in_a_document_exist(path):
    text = path.read_text(encoding="utf-8")
    for name in set(re.findall(r"`(dlinear(?:\.\w+)+)", text)):
        resolved(name)
    folders = "dlinear|proofs|sims|paper_figs|benchmarks|tests|docs"
    for place in set(re.findall(rf"`((?:{folders})/[\w./]+)`", text)):
        assert (ROOT / place).exists() or "NAME" in place, place
    for place in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (path.parent / place).exists(), place


def test_the_architecture_names_many_functions():
    """That the test above finds them."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`(dlinear(?:\.\w+)+)", text))
    assert len(names) > 30
    assert sum(callable(resolved(name)) for name in names) > 25
    with pytest.raises(AttributeError):
        resolved("dlinear.bridge.no_such_name")


def test_where_the_changelog_says_that_modules_are_now():
    """The second column of the table: full names exist, and so do the modules that stay importable."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    now = "".join(line.split("|")[2] for line in text.splitlines() if line.startswith("| `dlinear"))
    names = set(re.findall(r"`(dlinear(?:\.\w+)+)`", now))
    assert len(names) > 25
    for name in names:
        resolved(name)
    for name in ("bounds", "costs", "limits", "scalar"):
        assert resolved(f"dlinear.{name}") is resolved(f"dlinear.theory.{name}")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"dlinear.{name}")


def test_no_two_files_of_tests_have_one_name():
    """pytest imports them by their names: two of one name stop every run of all tests."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
