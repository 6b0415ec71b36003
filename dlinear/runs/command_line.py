"""Knobs, a frozen dataclass, from the words of a command line; a mistake in them is said in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
import sys
from collections.abc import Sequence
from typing import Any

from dlinear.errors import DomainError


def parse(knobs: type, description: str | None = None, words: Sequence[str] | None = None) -> Any:
    """The knobs that the words give, the defaults for the others.

    Args:
        knobs: a dataclass; the comment beside each field is its help.
        description: what `--help` says first.
        words: of the command line; by default those that this process was started with.

    Raises:
        DomainError: an unknown option or choice (the nearest known one is named), or a value of another type.
        SystemExit: after `--help`.
    """
    import tyro

    found: Any
    unknown: list[str]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            found, unknown = tyro.cli(
                own_first(knobs),
                prog=program(),
                description=as_typed(description or "") or None,
                args=words,
                return_unknown_args=True,
            )
    except SystemExit as end:
        if end.code in (None, 0):
            raise
        raise DomainError(_one_line(said.getvalue())) from None
    if unknown:
        raise DomainError(_unknown(unknown[0], knobs))
    return found


def own_first(knobs: type) -> type:
    """The dataclass with the fields that it declares itself before those of its bases, nearest base first.

    `dataclasses` has them the other way round, and `--help` shows them in that order: the knobs of the
    question that a script asks would stand below those that say where it runs. Only the order changes.
    """
    known: dict[str, Any] = vars(knobs)["__dataclass_fields__"]
    names = [
        name for kind in knobs.__mro__ for name in vars(kind).get("__annotations__", ()) if name in known
    ]
    ordered = {name: known[name] for name in dict.fromkeys(names)}
    known.clear()
    known.update(ordered)
    return knobs


@dataclasses.dataclass
class _Typed:
    """What the user typed in front of the options, where that is the command `dlinear` and no module."""

    words: str | None = None


_TYPED = _Typed()
_MODULES = re.compile(r"python -m (proofs|sims|paper_figs)\b(?:\.(\w+))?")
_COMMANDS = {"proofs": "prove", "sims": "sim", "paper_figs": "fig"}


def typed(words: str) -> None:
    """Say in this process that its scripts were started by these words, `dlinear sim cubic_decay`."""
    _TYPED.words = words


def program() -> str | None:
    """What the user typed: python -m sims.cubic_decay, or dlinear sim cubic_decay, rather than a path."""
    if _TYPED.words is not None:
        return _TYPED.words
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec is not None else None


def as_typed(text: str) -> str:
    """A text with its commands `python -m sims.X` as `dlinear sim X`, where that command is at work."""
    if _TYPED.words is None:
        return text
    return _MODULES.sub(
        lambda found: " ".join(["dlinear", _COMMANDS[found[1]], *filter(None, [found[2]])]), text
    )


def _unknown(word: str, knobs: type) -> str:
    """One line about a word that is no option, with the option that is spelled most like it."""
    help_line = f"{program() or 'the command'} --help lists the options"
    if not word.startswith("-"):
        return f"unexpected word {word!r:.60}; {help_line}"
    option = word.partition("=")[0]
    options = ["--" + field.name.replace("_", "-") for field in dataclasses.fields(knobs)]
    near = difflib.get_close_matches(option.replace("_", "-"), options, n=1)
    return f"unknown option {option:.60}; {f'did you mean {near[0]}?' if near else help_line}"


def _one_line(box: str) -> str:
    """What tyro says in a box: the complaint without the frame, and the nearest of the choices."""
    lines = [line.strip("│ ") for line in box.splitlines() if line.strip() and line[0] not in "╭╰"]
    rules = [i for i, line in enumerate(lines) if set(line) in ({"─"}, {"-"})]
    if not box.startswith("╭") and rules:  # without box characters the title has a line and a rule of its own
        lines, rules = lines[rules[0] + 1 :], [i - rules[0] - 1 for i in rules[1:]]
    text = " ".join(lines[: rules[0]] if rules else lines)
    if choice := re.fullmatch(
        r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)\.", text
    ):
        value, option, names = choice[1], choice[2], re.findall(r"'([^']*)'", choice[3])
        near = difflib.get_close_matches(value, names, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"{option} must be one of {', '.join(names)}; received {value!r:.60}{meant}"
    if wrong := re.fullmatch(r"Error parsing (--\S+): (.*)", text):
        kind = next((line.removeprefix(wrong[1]).strip() for line in lines if line.startswith(wrong[1])), "")
        value = re.search(r"\[?'.*'\]?$", wrong[2].partition(" Got errors")[0].rstrip("."))
        return f"{wrong[1]} takes {kind or 'another type'}; received {value[0] if value else wrong[2]:.100}"
    return text or "the command line cannot be read"
