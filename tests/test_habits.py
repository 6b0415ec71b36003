"""What a contributor runs: the hooks are `make lint`, targets exist, packages are pinned."""

from __future__ import annotations

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


@pytest.mark.parametrize("extra", ["", "test", "cluster", "zoo", "lint"])
def test_every_package_is_pinned(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    unpinned = {re.match(r"[\w-]+", item)[0] for item in wanted} - pinned
    assert unpinned <= {"build", "hatchling"}, "tools that build, of which any version does"
