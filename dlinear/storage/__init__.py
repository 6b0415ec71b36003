"""Files: written whole or not at all, read without pickles; every failure is one line that names the file."""

from dlinear.storage.leftovers import remove_leftovers
from dlinear.storage.reading import read_json, read_npz, reason, what_blocks
from dlinear.storage.writing import WriteError, check_writable, replacing, write_text

__all__ = [
    "WriteError",
    "check_writable",
    "read_json",
    "read_npz",
    "reason",
    "remove_leftovers",
    "replacing",
    "what_blocks",
    "write_text",
]
