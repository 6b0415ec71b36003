"""One thread, and a run that was never interrupted."""

from __future__ import annotations

import pytest
import torch
from tiny_stack import tiny


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with an uninterrupted run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    tiny(folder)
    torch.set_num_threads(threads)
    return folder
