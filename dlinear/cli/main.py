"""The command `dlinear`: one word for what to do, then the options of that."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from dlinear.checks import as_known
from dlinear.cli import folders
from dlinear.errors import DomainError
from dlinear.report import table
from dlinear.runs import command_line, script

Words = list[str]


@dataclass(frozen=True)
class Command:
    """One word of the command line.

    Attributes:
        usage: what follows the word.
        purpose: one line of the help.
        run: takes the words that follow, returns the exit status.
    """

    usage: str
    purpose: str
    run: Callable[[Words], int]


def run_script(module: str, typed: str, words: Sequence[str]) -> int:
    """A module of the scripts' folders as `python -m module words` runs it; it ends with its exit status."""
    folders.importable()
    command_line.typed(typed)
    sys.argv = [typed, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


def prove(words: Words) -> int:
    """Decide statements of the theory, or check certificates."""
    return run_script("proofs", "dlinear prove", words)


def simulate(words: Words) -> int:
    """Run one simulation, or list them."""
    if not words or words[0] in ("-h", "--help"):
        rows = [[name, folders.question("sims", name)] for name in folders.names("sims")]
        print(table(("name", "question"), rows))
        print("\ndlinear sim NAME --help lists the options of one")
        return 0
    name = as_known("simulation", words[0], folders.names("sims"))
    return run_script(f"sims.{name}", f"dlinear sim {name}", words[1:])


def draw(words: Words) -> int:
    """Draw figures from records."""
    return run_script("paper_figs", "dlinear fig", words)


def named(name: str) -> Callable[[Words], int]:
    """The command that runs one simulation under a name of its own."""
    return lambda words: simulate([name, *words])


def reproduce(words: Words) -> int:
    """The main job."""
    from dlinear.cli.reproduction import Knobs, main

    try:
        return main(command_line.parse(Knobs, main.__doc__, words))
    except KeyboardInterrupt:
        print("interrupted: the same command goes on with the records that are there", file=sys.stderr)
        raise


def report(words: Words) -> int:
    """Write the page."""
    from dlinear.cli.page import Knobs, main

    return main(command_line.parse(Knobs, main.__doc__, words))


def info(words: Words) -> int:
    """Print versions and devices."""
    from dlinear.cli import information

    if words not in ([], ["--json"]):
        raise DomainError(f"dlinear info takes --json or nothing; received {' '.join(words)!r:.60}")
    found = information.collect()
    print(json.dumps(found, indent=1) if words else information.text(found))
    return 0


def cite(words: Words) -> int:
    """Print BibTeX entries."""
    from dlinear.cli.citation import bibtex

    if words:
        raise DomainError(f"dlinear cite takes no words; received {' '.join(words)!r:.60}")
    print(bibtex())
    return 0


def completion(words: Words) -> int:
    """Print the completion script of a shell."""
    from dlinear.cli.completion import SHELLS, completion_script

    if len(words) != 1:
        raise DomainError(f"dlinear completion takes one shell: {', '.join(SHELLS)}")
    print(completion_script(as_known("shell", words[0], SHELLS), COMMANDS))
    return 0


COMMANDS = {
    "reproduce": Command(
        "[--part bridge]", "check the paper, simulate, draw the figures, write the report", reproduce
    ),
    "prove": Command(
        "[NAME ...]", "decide the statements of the theory; re-check certificates (--check)", prove
    ),
    "sim": Command("NAME [OPTIONS]", "run a simulation; without a name: list them", simulate),
    "fig": Command("[NAME ...]", "draw figures from the records of simulations", draw),
    "rules": Command("[OPTIONS]", "compare learning rules: accuracy, time, memory, angle", named("rules")),
    "select": Command(
        "[OPTIONS]", "choose the horizon for a model, a budget and a price", named("select_horizon")
    ),
    "report": Command("[--output FILE]", "one HTML page of statements, numbers and figures", report),
    "info": Command("[--json]", "versions, BLAS, cores and devices, for a report of a problem", info),
    "cite": Command("", "BibTeX of this software and of the paper", cite),
    "completion": Command("SHELL", 'completion script: eval "$(dlinear completion bash)"', completion),
}


def usage() -> str:
    """What `dlinear --help` says."""
    rows = [
        [f"dlinear {name} {command.usage}".rstrip(), command.purpose] for name, command in COMMANDS.items()
    ]
    return (
        "dlinear: horizon-truncated learning in deep linear networks: prove it, simulate it, bridge it\n\n"
        f"{table(('command', 'what it does'), rows)}\n\n"
        "dlinear COMMAND --help lists the options of a command; dlinear --version the version.\n"
        "Records, figures and certificates go to results/ and figures/ of the current folder."
    )


def dispatch(words: Words) -> int:
    """Run the command that the words name."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"dlinear {version('dlinear')}")
        return 0
    return COMMANDS[as_known("command", words[0], list(COMMANDS))].run(words[1:])


def main() -> int:
    """The exit status: that of the command; 2 after one line about a refused input."""
    return script.command(lambda: dispatch(sys.argv[1:]))
