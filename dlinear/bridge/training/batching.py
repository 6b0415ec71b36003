"""The batches of an epoch, and the seed of what is random in a step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dlinear.bridge.data.split import NOISE, ORDER


def batches(samples: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """The indices of each batch of an epoch; they depend on the seed and the epoch alone.

    Every sample occurs once. A last batch of one sample joins the batch before it: batch norm needs two.
    """
    order = torch.from_numpy(np.random.default_rng((ORDER, seed, epoch)).permutation(samples))
    parts = [order[start : start + batch_size] for start in range(0, samples, batch_size)]
    if len(parts) > 1 and len(parts[-1]) == 1 < batch_size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def noise_seed(seed: int) -> int:
    """The seed of torch's generators (dropout); another stream than the order of the batches."""
    return int(np.random.SeedSequence((NOISE, seed)).generate_state(1, np.uint64)[0])
