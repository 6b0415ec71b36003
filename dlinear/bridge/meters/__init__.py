"""What a training step costs: memory, time, calls of blocks, energy. What has no meter is a MeterError."""

from __future__ import annotations

from dlinear.bridge.meters.block_calls import StepCalls, step_calls
from dlinear.bridge.meters.block_sizes import block_sizes
from dlinear.bridge.meters.memory import (
    CudaMemory,
    MemoryFit,
    StepMemory,
    cuda_memory,
    fit_memory,
    step_memory,
)
from dlinear.bridge.meters.system import (
    NOT_MEASURABLE,
    SystemMeter,
    SystemUse,
    Throughput,
    throughput,
    time_to,
    words,
)
from dlinear.bridge.meters.timing import StepTime, step_times
from dlinear.bridge.meters.windows import all_windows, largest_window, states_of
from dlinear.errors import MeterError

__all__ = [
    "NOT_MEASURABLE",
    "CudaMemory",
    "MemoryFit",
    "MeterError",
    "StepCalls",
    "StepMemory",
    "StepTime",
    "SystemMeter",
    "SystemUse",
    "Throughput",
    "all_windows",
    "block_sizes",
    "cuda_memory",
    "fit_memory",
    "largest_window",
    "states_of",
    "step_calls",
    "step_memory",
    "step_times",
    "throughput",
    "time_to",
    "words",
]
