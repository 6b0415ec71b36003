"""The wheel carries what the command `dlinear` runs below `dlinear/scripts`; editable: the checkout."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SCRIPTS = ("proofs", "sims", "paper_figs")


class CustomBuildHook(BuildHookInterface):
    """Adds the scripts to wheels that are no editable ones: there the folder would hide the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it packs."""
        if version == "standard":
            build_data["force_include"].update({name: f"dlinear/scripts/{name}" for name in SCRIPTS})
