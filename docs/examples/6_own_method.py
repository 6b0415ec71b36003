"""
Your own learning rule
======================

A method fills ``.grad`` in its own way. Register it, and trainer, meters and comparison know it by its name.
"""

import torch
from torch import nn
from torch.nn import functional as F

from dlinear.bridge.methods import method
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted
from dlinear.bridge.methods.registry import register

torch.manual_seed(0)

# %%
# **The rule**: the gradient of back-propagation with its sign alone, each tensor scaled to its mean size.


def sign_backward(blocks, x, loss_fn, readout=None):
    """Fill .grad; return the loss, detached."""
    z = x
    for block in blocks:
        z = block(z)
    loss = loss_fn(z if readout is None else readout(z, len(blocks)))
    loss.backward()
    for block in blocks:
        for p in block.parameters():
            if p.grad is not None:
                p.grad = p.grad.sign() * p.grad.abs().mean()
    return loss.detach()


def build(number):
    """What the registry makes of the name ``sign``."""
    return Method(
        name="sign",
        family="sign",
        number=None,
        description="the signs of back-propagation",
        exact=False,
        run=sign_backward,
        cost=lambda depth: Cost(forwards=depth, vjps=depth),
        predicted=lambda depth: Predicted(1.0, 1.0),
    )


register(Family("sign", build, least=None, bare=True))

# %%
# **By its name**, as every other method.

blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(4))
x, y = torch.randn(32, 6), torch.randn(32, 6)
gradients = {}
for name in ("backprop", "sign", "horizon-2"):
    blocks.zero_grad()
    loss = method(name)(blocks, x, lambda z: F.mse_loss(z, y))
    gradients[name] = torch.cat([p.grad.flatten() for p in blocks.parameters()])
for name, g in gradients.items():
    print(f"{name:10} cosine to back-propagation {F.cosine_similarity(g, gradients['backprop'], 0):.3f}")

# %%
# **Beside all others.** Put the rule, its ``build`` and ``register`` into a module, ``my_rule.py``. The
# comparison imports it; ``--horizons 1 2 --seeds 2 --epochs 1 --depth 8 --width 8 --samples 100`` makes it
# short:
#
# .. code-block:: bash
#
#     PYTHONPATH=. dlinear sim bridge_tradeoff --plugins my_rule --methods sign
