"""How many kernels torch would launch, counted on tensors of any device: one for each operation with data."""

from __future__ import annotations

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

    @property
    def kernels(self) -> int:
        """Operations that move data, reads apart."""
        return sum(self.names.values())

    def __enter__(self) -> Launches:
        self._numpy = torch.Tensor.numpy
        mode = self

        def counted(tensor: torch.Tensor, *words: Any, **knobs: Any) -> Any:
            mode.reads += 1
            return mode._numpy(tensor, *words, **knobs)

        torch.Tensor.numpy = counted  # type: ignore[method-assign]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        torch.Tensor.numpy = self._numpy  # type: ignore[method-assign]
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense":
            self.reads += 1
        elif name not in VIEWS:
            self.names[name] += 1
        return func(*args, **(kwargs or {}))
