"""Completion scripts for shells, by shtab: commands, and the names that some of them take."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from dlinear.cli import folders

SHELLS = ("bash", "zsh", "tcsh")
NAMED = {"prove": "proofs", "sim": "sims", "fig": "paper_figs"}  # command -> the folder of its names


def completion_script(shell: str, commands: Mapping[str, Any]) -> str:
    """What the shell has to evaluate.

    Args:
        shell: one of `SHELLS`.
        commands: name -> an object with a `purpose`.
    """
    import shtab

    parser = argparse.ArgumentParser(prog="dlinear")
    parser.add_argument("--version", action="store_true")
    words = parser.add_subparsers()
    for name, command in commands.items():
        inner = words.add_parser(name, help=command.purpose)
        if name in NAMED:
            inner.add_argument("names", nargs="*", choices=folders.names(NAMED[name]))
        if name == "completion":
            inner.add_argument("shell", choices=SHELLS)
    return str(shtab.complete(parser, shell))
