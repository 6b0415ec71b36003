"""How many kernels torch would launch, counted on tensors of any device: one for each operation with data."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that describe a tensor anew and move no data.
VIEWS = {
    *(
        "view",
        "_unsafe_view",
        "reshape",
        "_reshape_alias",
        "alias",
        "as_strided",
        "slice",
        "select",
        "unbind",
    ),
    *(
        "transpose",
        "permute",
        "t",
        "mT",
        "expand",
        "unsqueeze",
        "squeeze",
        "diagonal",
        "unfold",
        "split",
        "detach",
    ),
    *(
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "lift_fresh",
        "set_",
        "resize_",
    ),
}

# Functions that launch one compiled kernel, and where they are.
TRITON = ("dlinear.engine.scan_triton", "dlinear.networks.philox_triton")
LAUNCHERS = {"fold", "scan", "fill_normals"}


class Launches(TorchDispatchMode):
    """Counts what is done while it is entered, in the thread that entered it.

    Attributes:
        names: how often each operation that moves data was done.
        reads: copies of a tensor to the host, those of `TorchBackend.numpy` and `item`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.reads = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here: torch need not import its compiler, which takes seconds."""
        return False

    @property
    def kernels(self) -> int:
        """Operations that move data, reads apart."""
        return sum(self.names.values())

    def __enter__(self) -> Launches:
        mode, right = self, torch.Tensor.numpy

        def read(tensor: torch.Tensor, *words: Any, **knobs: Any) -> Any:
            mode.reads += 1
            return right(tensor, *words, **knobs)

        self._replaced = [(torch.Tensor, "numpy", right)]
        torch.Tensor.numpy = read  # type: ignore[method-assign]
        for name in TRITON:
            if name in sys.modules:
                self._count_kernels(sys.modules[name])
        super().__enter__()
        return self

    def _count_kernels(self, module: Any) -> None:
        """Each launch of a compiled kernel of a module counts as one operation."""
        for name in LAUNCHERS & set(vars(module)):
            launch = getattr(module, name)

            def counted(*given: Any, launch: Any = launch, name: str = name, **words: Any) -> Any:
                self.names[name] += 1
                with torch.utils._python_dispatch._disable_current_modes():
                    return launch(*given, **words)

            self._replaced.append((module, name, launch))
            setattr(module, name, counted)

    def __exit__(self, *error: Any) -> None:
        for place, name, right in self._replaced:
            setattr(place, name, right)
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense":
            self.reads += 1
        elif name not in VIEWS:
            self.names[name] += 1
        return func(*args, **(kwargs or {}))
