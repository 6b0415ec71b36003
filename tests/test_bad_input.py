"""Whatever makes no sense is refused in one line that names it: never an error from inside, never a number.

One test over the public names, the files and the command lines.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import bad_calls
import bad_commands
import bad_files
import pytest
from paths import ROOT

from dlinear import bridge
from dlinear.errors import DlinearError

CALLS = [*bad_calls.public_calls(), *bad_files.calls()]
LONGEST = 320  # characters of a message
# what a message calls an argument by, where that is not its own name
ALIASES = {
    "quadratic": "q ",
    "deviations": "layers",
    "matrix": "layers",
    "profile": "AlignmentProfile",
    "stack": "model",
    "identity": "knobs",
    "arrays": "array",
    "cells": "knobs",
    "name": "method",
    "path": "missing",
    "folder": "missing",
    "net": "network",
    "run": "method",
    "loss_fn": "loss",
    "a": "tensors",
    "b": "gradient",
    "memory": "sizes",
    "blocks": "block",
    "runs": "run",
    "keys": "key",
}


class Case(NamedTuple):
    """Something that must be refused: what is run gives the message, which names one of the words."""

    run: Callable[[], str]
    words: tuple[str, ...]


def _refused(row: bad_calls.Row, argument: str, make: Callable[[], Any]) -> str:
    try:
        found = row.call(**{**row.valid, argument: make()})
    except DlinearError as error:
        return str(error)
    raise AssertionError(f"accepted: {found!r:.100}")


def _ended(command: bad_commands.Command) -> str:
    status, said = bad_commands.run(command.module, command.words.split())
    assert status == command.status, said
    return said.removesuffix("\n")


CASES = {
    name: Case(
        lambda a=row, b=argument, c=make: _refused(a, b, c), (argument, ALIASES.get(argument, argument))
    )
    for name, row, argument, make in bad_calls.cases(CALLS)
} | {
    f"python -m {command.module} {command.words}": Case(lambda a=command: _ended(a), (command.says,))
    for command in bad_commands.COMMANDS
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory, monkeypatch):
    """A folder without files, and modules of the checkout."""
    monkeypatch.chdir(bad_files.empty(tmp_path_factory))
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delenv("DLINEAR_DATA", raising=False)


@pytest.mark.parametrize("name", CASES)
def test_what_makes_no_sense_is_refused_in_one_line(name):
    case = CASES[name]
    said = case.run()
    assert len(said.splitlines()) == 1, said
    assert len(said) <= LONGEST or "the names are" in said, said
    assert any(word in said for word in case.words), said
    assert "Traceback" not in said
    assert not os.listdir(), "something was written"


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_the_call_works_otherwise(row):
    """Or everything would be refused."""
    row.call(**row.valid)


def test_there_are_many_cases_of_every_kind():
    assert len(CASES) > 1000
    assert len(CASES) == len({*CASES}) == sum(1 for _ in bad_calls.cases(CALLS)) + len(bad_commands.COMMANDS)
    rows = {row.name.removeprefix("bridge.").rpartition(".")[2] for row in CALLS}
    classes = {"Method", "Run", "ForwardAlignment"}  # are made by the library
    assert set(bridge.__all__) - classes <= rows
    for first, second in itertools.pairwise([bad_calls.public_calls(), bad_calls.public_calls()]):
        assert [name for name, *_ in bad_calls.cases(first)] == [name for name, *_ in bad_calls.cases(second)]
