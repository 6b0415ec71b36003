"""
Your own torch model
====================

``horizon_backward`` takes the place of ``loss.backward()``: any ordered stack of modules, any loss, a readout
that maps an inner state to where the loss lives.
"""

import torch
from torch import nn
from torch.nn import functional as F

from dlinear.bridge import alignment, horizon_backward

torch.manual_seed(0)

# %%
# **A convolutional net whose widths change.** Each state needs a way to the loss: here pooling and a head
# for each width.


class Head(nn.Module):
    """Pooled features to ten classes, by a layer for each number of channels."""

    def __init__(self, widths, classes=10):
        super().__init__()
        self.heads = nn.ModuleDict({str(w): nn.Linear(w, classes) for w in widths})

    def forward(self, z, s):
        """x(s), (N, C, H, W), to logits (N, classes)."""
        return self.heads[str(z.shape[1])](z.mean((2, 3)))


def block(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU())


blocks = nn.ModuleList([block(1, 8), block(8, 8), block(8, 16), block(16, 16), block(16, 32), block(32, 32)])
head = Head([8, 16, 32])
images, labels = torch.randn(16, 1, 8, 8), torch.randint(10, (16,))


def loss_fn(z):
    return F.cross_entropy(z, labels)


optimizer = torch.optim.SGD([*blocks.parameters(), *head.parameters()], 0.05)
for step in range(3):
    optimizer.zero_grad()
    loss = horizon_backward(blocks, images, loss_fn, horizon=2, readout=head)
    optimizer.step()
    print(f"step {step}: loss {loss.item():.4f}")

# %%
# **How good is that gradient?** The angle to back-propagation at every horizon that you ask for.

profile = alignment(blocks, images, loss_fn, [1, 2, 4], head)
for h, value in zip(profile.horizons, profile.sin2, strict=True):
    print(f"h = {h}: sin^2 = {float(value):.4f}")

# %%
# **A transformer encoder.** Layers of one width: a shared head serves every state.

encoder = nn.ModuleList(
    nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True) for _ in range(4)
)
shared = nn.Linear(16, 10)
tokens = torch.randn(16, 5, 16)
loss = horizon_backward(encoder, tokens, loss_fn, 2, readout=lambda z, s: shared(z.mean(1)))
print(f"encoder: {loss.item():.4f}, gradient {encoder[0].linear1.weight.grad.norm():.2e}")

# %%
# **A Hugging Face model from a configuration**; nothing is downloaded. Its layers are the blocks.

from transformers import ViTConfig, ViTModel

config = ViTConfig(
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=32,
    image_size=8,
    patch_size=4,
)
vit = ViTModel(config, add_pooling_layer=False)
embedded = vit.embeddings(torch.randn(16, 3, 8, 8)).detach()


class Layer(nn.Module):
    """A layer of the model as a map of states."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, z):
        """(N, tokens, width) to the same."""
        out = self.inner(z)
        return out[0] if isinstance(out, tuple) else out


layers = vit.encoder.layer if hasattr(vit, "encoder") else vit.layers
loss = horizon_backward(
    [Layer(m) for m in layers], embedded, loss_fn, 1, readout=lambda z, s: shared(z[:, 0])
)
print(f"ViT: {loss.item():.4f}")

# %%
# **Mixed precision.** Autocast stands around the forward pass, that is around ``horizon_backward``; a
# ``GradScaler`` scales the loss inside ``loss_fn``.

scaler = torch.amp.GradScaler("cpu")
optimizer.zero_grad()
with torch.autocast("cpu", dtype=torch.bfloat16):
    loss = horizon_backward(blocks, images, lambda z: scaler.scale(loss_fn(z)), 2, readout=head)
scaler.step(optimizer)
scaler.update()
print(f"scaled loss {loss.item():.1f}, scale {scaler.get_scale():.0f}")

# %%
# **Several processes.** ``horizon_backward`` fills ``.grad``; average it over the processes before the step
# (DDP's hooks belong to ``loss.backward()``). Shown with a group of one process.

import os
import tempfile

import torch.distributed as dist

with tempfile.TemporaryDirectory() as folder:
    dist.init_process_group(
        "gloo", init_method=f"file://{os.path.join(folder, 'meet')}", rank=0, world_size=1
    )
    optimizer.zero_grad()
    horizon_backward(blocks, images, loss_fn, 2, readout=head)
    for p in [*blocks.parameters(), *head.parameters()]:
        if p.grad is not None:
            dist.all_reduce(p.grad)
            p.grad /= dist.get_world_size()
    optimizer.step()
    dist.destroy_process_group()

# %%
# **Lightning** wants its manual optimisation, because the step calls no ``backward``:
#
# .. code-block:: python
#
#     class Model(lightning.LightningModule):
#         def __init__(self):
#             super().__init__()
#             self.automatic_optimization = False
#
#         def training_step(self, batch, index):
#             x, y = batch
#             optimizer = self.optimizers()
#             optimizer.zero_grad()
#             loss = horizon_backward(self.blocks, x, lambda z: F.cross_entropy(z, y), 2, self.head)
#             optimizer.step()
#             self.log("loss", loss)
