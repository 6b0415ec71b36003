"""Layers as torch sees them: the calls of linear and convolution with a trained weight, inside any module.

A rule that needs "the weight of a layer and what enters it" finds it in these calls, so that it works for
nn.Linear, nn.Conv1d to 3d and blocks that call torch.nn.functional by themselves. Inside `Calls` each call

    a = W h + b      (or a convolution)

is recorded, and W, b may be replaced by others. A parameter of two axes or more that takes no such part (a
recurrent or attention module, a product written with @) is refused by the rules, in one line.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dlinear.bridge.autograd.modules import trainable
from dlinear.errors import DomainError

__all__ = ["BESIDE", "Call", "Calls", "call_of", "check_all_seen", "own_parameters"]

BESIDE = ("weight_down", "weight_lateral", "weight_generative")  # of pff_circuit.py
WEIGHTED = (functional.linear, functional.conv1d, functional.conv2d, functional.conv3d)


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        function: of torch.
        given: h, (N, ...).
        weight, bias: the trained tensors; bias may be None.
        options: stride, padding and so on, in their order.
    """

    function: Callable[..., Tensor]
    given: Tensor
    weight: Tensor
    bias: Tensor | None
    options: tuple[Any, ...]

    def run(self, given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The same layer with other numbers."""
        return self.function(given, weight, bias, *self.options)

    def products(self, post: Tensor, pre: Tensor) -> dict[Tensor, Tensor]:
        """sum over samples (and positions) of post pre^T, for the weight; of post, for the bias.

        For a linear layer post^T pre, of rows (N, n_l) and (N, n_{l-1}); in general the derivative of
        <post, W pre + b>, which is linear in W and b.
        """
        if self.function is functional.linear and post.dtype == pre.dtype == self.weight.dtype:
            rows = post.detach().flatten(0, -2)
            direct = {self.weight: rows.T @ pre.detach().flatten(0, -2)}
            if self.bias is not None and self.bias.requires_grad:
                direct[self.bias] = rows.sum(0)
            return direct
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (self.weight, self.bias) if t is not None]
            out = self.run(pre.detach(), leaves[0], leaves[1] if len(leaves) > 1 else None)
            found = torch.autograd.grad(out, leaves, post.detach().to(out.dtype))
        owners = [t for t in (self.weight, self.bias) if t is not None]
        return {owner: g for owner, g in zip(owners, found, strict=True) if owner.requires_grad}


def call_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Call | None:
    """The call of a layer whose weight is trained, None for anything else."""
    if function not in WEIGHTED:
        return None
    named = dict(kwargs or {})
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    values = dict(zip(names, args, strict=False)) | named
    weight = values["weight"]
    if not (isinstance(weight, Tensor) and weight.is_leaf and weight.requires_grad):
        return None
    defaults = (
        {} if function is functional.linear else {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    )
    options = tuple(values.get(name, default) for name, default in defaults.items())
    return Call(function, values["input"], weight, values.get("bias"), options)


class Calls(TorchFunctionMode):
    """Inside, layers are recorded in `seen` (`shapes`: of their outputs), and may run on other weights.

    Compiled modules run as they were before `torch.compile`: their layers could not be seen.

    Args:
        stand_in: by weight or bias, what the layer is to use in its place.
    """

    def __init__(self, stand_in: Mapping[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.seen: list[Call] = []
        self.shapes: list[torch.Size] = []
        self.stand_in = stand_in or {}
        self._eager = contextlib.ExitStack()

    def __enter__(self) -> Calls:
        if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled
            self._eager.enter_context(torch.compiler.set_stance("force_eager"))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        self._eager.close()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function, or the layer."""
        call = call_of(func, args, kwargs)
        if call is None:
            return func(*args, **(kwargs or {}))
        self.seen.append(call)
        output = self.layer(call)
        self.shapes.append(output.shape)
        return output

    def layer(self, call: Call) -> Tensor:
        """What stands for one call."""
        weight = self.stand_in.get(call.weight, call.weight)
        bias = call.bias if call.bias is None else self.stand_in.get(call.bias, call.bias)
        return call.run(call.given, weight, bias)


def own_parameters(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Their trained parameters, without those that a rule keeps beside the weight of a layer (`BESIDE`)."""
    some = list(modules)
    inner = [m for outer in some for m in outer.modules()]
    beside = {id(m._parameters.get(name)) for m in inner for name in BESIDE}
    return [parameter for parameter in trainable(some) if id(parameter) not in beside]


def check_all_seen(rule: str, parameters: Iterable[Tensor], seen: Iterable[Call]) -> None:
    """Refuse parameters of two axes or more that no recorded layer uses as its weight.

    Raises:
        DomainError: there is one.
    """
    weights = {id(call.weight) for call in seen}
    for parameter in parameters:
        if parameter.ndim > 1 and id(parameter) not in weights:
            raise DomainError(
                f"{rule} replaces weights of linear and convolutional layers; a parameter of shape "
                f"{tuple(parameter.shape)} is trained elsewhere (freeze it, or write it as nn.Linear)"
            )
