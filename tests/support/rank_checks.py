"""What must hold for steps of several processes: each check runs on two gloo ranks and says what is wrong.

python rank_checks.py FOLDER [NAME ...]     # RANK.json: {check: "ok" or what is wrong}, RANK.txt: stderr
"""

from __future__ import annotations

import copy
import json
import os
import sys
import traceback
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from dlinear.bridge import (
    Supervised,
    Training,
    alignment,
    horizon_backward,
    horizon_gradients,
    load,
    model,
    process_group,
    step_memory,
    train,
)
from dlinear.bridge.autograd import rank_average
from dlinear.bridge.methods import Method, Predicted, method
from dlinear.bridge.methods.accumulation import accumulated_backward
from dlinear.bridge.methods.backprop import backprop, one_pass
from dlinear.bridge.methods.checkpointing import checkpointed_backward
from dlinear.bridge.methods.forward_gradient import forward_gradient
from dlinear.bridge.methods.loco import loco
from dlinear.errors import DistributedError, DlinearError, DomainError

RANKS, WIDTH, DEPTH, SAMPLES = 2, 4, 5, 6
METHODS = (
    *("backprop", "horizon-1", "horizon-2", f"horizon-{DEPTH}", "checkpoint-2", "accumulate-2", "combined-2"),
    *("loco-2", "greedy", "forward-2", "revolve-2", "reconstruct-2", "highway-1"),
    *("anchored-2", "stages-2", "anchored-stages-3", "dfa", "sdfa", "dfa-identity"),
)
CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


class Block(nn.Module):
    def __init__(self, norm=False):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH) if norm else nn.Identity()

    def forward(self, z):
        return z + torch.tanh(self.norm(self.linear(z))) / 3


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, 3)

    def forward(self, z, s=0):
        return self.linear(z)


def build(seed=0, **kind):
    torch.manual_seed(seed)
    return nn.ModuleList([*(Block(**kind) for _ in range(DEPTH)), Head()]).double()


def batch(rank=None):
    """The share of a rank, or the joined batch."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(RANKS * SAMPLES, WIDTH, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (len(x),), generator=generator)
    some = slice(None) if rank is None else slice(rank * SAMPLES, (rank + 1) * SAMPLES)
    return x[some], Supervised(functional.cross_entropy, y[some])


def gradients(net):
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def apart(found, wanted):
    if found.keys() != wanted.keys():
        return f"gradients of {sorted(found)}, expected of {sorted(wanted)}"
    worst = max(float((found[name] - wanted[name]).abs().max()) for name in wanted)
    return "" if worst < 1e-12 else f"off by {worst:.2e}"


def gathered(tensor):
    out = [torch.empty_like(tensor) for _ in range(RANKS)]
    dist.all_gather(out, tensor.contiguous())
    return out


def refused(error, words, call):
    """What is wrong if the call does not raise this error with these words in one line."""
    try:
        call()
    except error as caught:
        text = str(caught)
        return "" if words in text and "\n" not in text else f"another message: {text}"
    return f"not refused ({words})"


def step(name, net, rank=None, blocks=None, **words):
    """Loss of one step; tangents of forward gradients are alike everywhere."""
    x, loss_fn = batch(rank)
    torch.manual_seed(3)
    return method(name)(net[:-1] if blocks is None else blocks, x, loss_fn, net[-1], **words)


def as_joined(net, run, steps=2):
    """Whether `steps` steps of each method on shares are those of one process on the joined batch."""
    wrong = []
    for name in METHODS:
        ours, whole = copy.deepcopy(net), copy.deepcopy(net)
        for _ in range(steps):
            found = run(name, ours)
            wanted = step(name, whole, process_group="none")
            if abs(float(found - wanted)) > 1e-12 or found.requires_grad or found.shape != ():
                wrong.append(f"{name}: loss {found}, expected {wanted}")
        if words := apart(gradients(ours), gradients(whole)):
            wrong.append(f"{name}: {words}")
    return wrong


# --- support ----------------------------------------------------------------------------------------------


@check
def methods_equal_one_process_on_the_joined_batch(rank):
    return as_joined(build(), lambda name, net: step(name, net, rank, process_group="world"))


@check
def every_way_to_name_the_group(rank):
    wrong, net = [], build()
    everyone = dist.new_group(list(range(RANKS)))
    for group in (dist.group.WORLD, everyone):
        wrong += as_joined(net, lambda name, net, group=group: step(name, net, rank, process_group=group), 1)
    with process_group("world"):
        wrong += as_joined(net, lambda name, net: step(name, net, rank), 1)
    return wrong


@check
def functions_of_the_methods(rank):
    runs = {
        "backprop": backprop,
        "checkpoint-2": partial(checkpointed_backward, segments=2),
        "accumulate-2": partial(accumulated_backward, parts=2),
        "combined-2": partial(accumulated_backward, parts=2, within=checkpointed_backward),
        "loco-2": partial(loco, stages=2),
        "forward-2": partial(forward_gradient, tangents=2),
        "horizon-2": partial(horizon_backward, horizon=2),
    }
    wrong, (x, loss_fn) = [], batch(rank)
    for name, run in runs.items():
        ours, whole = build(), build()
        if words := refused(
            DomainError, "process_group=", partial(run, ours[:-1], x, loss_fn, readout=ours[-1])
        ):
            wrong.append(f"{name}: {words}")
        torch.manual_seed(3)
        run(ours[:-1], x, loss_fn, readout=ours[-1], process_group="world")
        step(name, whole, process_group="none")
        if words := apart(gradients(ours), gradients(whole)):
            wrong.append(f"{name}: {words}")
    return wrong


@check
def shared_and_frozen_parameters(rank):
    net = build()
    net[2].linear.weight = net[0].linear.weight
    net[3] = net[1]
    net[4].requires_grad_(False)
    return as_joined(net, lambda name, net: step(name, net, rank, process_group="world"))


@check
def blocks_inside_data_parallel_modules(rank):
    def run(name, net):
        blocks = [DistributedDataParallel(block) for block in net[:-1]]
        x, loss_fn = batch(rank)
        torch.manual_seed(3)
        return method(name)(blocks, x, loss_fn, DistributedDataParallel(net[-1]))

    return as_joined(build(), run)


@check
def blocks_of_a_wrapped_model(rank):
    """`ddp.module.blocks`: the wrapper cannot be seen, so it is asked; with an answer it is averaged once."""

    def run(name, net):
        whole = DistributedDataParallel(nn.ModuleDict({"blocks": net[:-1], "head": net[-1]}))
        return step(name, net, rank, whole.module["blocks"], process_group="world")

    net = build()
    whole = DistributedDataParallel(nn.ModuleDict({"blocks": net[:-1], "head": net[-1]}))
    asked = refused(
        DomainError, "process_group=", lambda: step("horizon-2", net, rank, whole.module["blocks"])
    )
    return [*as_joined(build(), run), *([asked] if asked else [])]


@check
def data_parallel_modules_inside_blocks_and_behind_functions(rank):
    net = build()
    inner = [DistributedDataParallel(block) for block in net[:-1]]
    blocks = [nn.Sequential(inner[0], nn.Identity()), lambda z, b=inner[1]: b(z), *inner[2:]]
    head = DistributedDataParallel(net[-1])
    wrong = []
    for name in METHODS:
        if name.startswith("forward"):  # finds parameters of modules alone
            continue
        net.zero_grad()
        whole = build()
        x, loss_fn = batch(rank)
        method(name)(blocks, x, loss_fn, head)
        step(name, whole, process_group="none")
        if words := apart(gradients(net), gradients(whole)):
            wrong.append(f"{name}: {words}")
    return wrong


@check
def steps_in_no_sync_stay_local_and_count_at_the_next(rank):
    wrong = []
    for name in ("horizon-2", "backprop", "accumulate-2"):
        net, whole = build(), build()
        head, blocks = DistributedDataParallel(net[-1]), [DistributedDataParallel(b) for b in net[:-1]]
        x, loss_fn = batch(rank)
        quiet = [module.no_sync() for module in (*blocks, head)]
        for context in quiet:
            context.__enter__()
        method(name)(blocks, x, loss_fn, head)
        for context in quiet:
            context.__exit__(None, None, None)
        local = build()
        step(name, local, rank, process_group="none")
        if words := apart(gradients(net), gradients(local)):
            wrong.append(f"{name}, local: {words}")
        method(name)(blocks, x, loss_fn, head)
        for _ in range(2):
            step(name, whole, process_group="none")
        if words := apart(gradients(net), gradients(whole)):
            wrong.append(f"{name}, together: {words}")
    return wrong


@check
def data_parallel_training_goes_on_as_before(rank):
    """A step of ours between two of torch's own leaves the wrapper as it was."""
    net = build()
    blocks, head = [DistributedDataParallel(b) for b in net[:-1]], DistributedDataParallel(net[-1])
    x, loss_fn = batch(rank)
    wrong = []
    for kind in ("torch", "horizon-2", "torch", "forward-1", "torch"):
        net.zero_grad()
        if kind == "torch":
            loss_fn(head(nn.Sequential(*blocks)(x))).backward()
            whole = build()
            step("backprop", whole, process_group="none")
            if words := apart(gradients(net), gradients(whole)):
                wrong.append(words)
        else:
            method(kind)(blocks, x, loss_fn, head)
        wrong += [] if all(b.require_backward_grad_sync for b in blocks) else ["no longer averaged"]
    return wrong


class Fork(nn.Module):
    """Uses one of its two layers, by the sign of its input."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.never = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, z):
        return z + (self.a if z.sum() > 0 else self.b)(z)


@check
def parameters_used_on_one_rank_only(rank):
    wrong = []
    for name in METHODS:
        torch.manual_seed(0)
        net = nn.ModuleList([Fork(), *(Block() for _ in range(DEPTH - 1)), Head()]).double()
        x, loss_fn = batch(rank)
        x = x.abs() if rank == 0 else -x.abs()
        mine, ours = copy.deepcopy(net), copy.deepcopy(net)
        torch.manual_seed(3)
        method(name)(mine[:-1], x, loss_fn, mine[-1], process_group="none")
        torch.manual_seed(3)
        method(name)(ours[:-1], x, loss_fn, ours[-1], process_group="world")
        for key, p in ours.named_parameters():
            own = dict(mine.named_parameters())[key].grad
            mean = sum(gathered(torch.zeros_like(p) if own is None else own)) / RANKS
            forward = name.startswith("forward")  # it has a gradient of what is not used, too
            if (p.grad is None) != ("never" in key and not forward):
                wrong.append(f"{name}: {key} {'has no' if p.grad is None else 'has a'} gradient")
            elif p.grad is not None and float((p.grad - mean).abs().max()) > 1e-13:
                wrong.append(f"{name}: {key} is not the mean")
    return wrong


@check
def tensors_that_no_module_holds(rank):
    """Blocks are functions of tensors in a closure: nobody's parameters, averaged all the same."""
    wrong, (x, loss_fn) = [], batch(rank)
    for name in ("backprop", "horizon-1", "horizon-3", "checkpoint-2", "accumulate-2", "loco-2"):
        found = []
        for share, words in ((x, {"process_group": "world"}), (batch()[0], {"process_group": "none"})):
            torch.manual_seed(0)
            weights = [
                torch.randn(WIDTH, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(DEPTH)
            ]
            blocks = [lambda z, w=w: z + torch.tanh(z @ w) for w in weights]
            loss = batch()[1] if len(share) > SAMPLES else loss_fn
            head = build()[-1].requires_grad_(False)
            method(name)(blocks, share, loss, head, **words)
            found.append({str(t): w.grad for t, w in enumerate(weights)})
        if words := apart(*found):
            wrong.append(f"{name}: {words}")
    return wrong


@check
def gradients_without_grad(rank):
    wrong, net = [], build()
    for h in (1, 3, DEPTH):
        x, loss_fn = batch(rank)
        loss, found = horizon_gradients(net[:-1], x, loss_fn, h, net[-1], process_group="world")
        both, everything = batch()
        wanted, true = horizon_gradients(net[:-1], both, everything, h, net[-1], process_group="none")
        names = {p: name for name, p in net.named_parameters()}
        words = apart({names[p]: g for p, g in found.items()}, {names[p]: g for p, g in true.items()})
        wrong += [words] if words else []
        wrong += [] if abs(float(loss - wanted)) < 1e-12 else ["another loss"]
    return wrong + ([".grad was touched"] if gradients(net) else [])


@check
def types_and_buckets(rank):
    """Parameters of several types, more than a bucket holds."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH).double()
            self.short = nn.Parameter(torch.randn(3, dtype=torch.bfloat16))
            self.phase = nn.Parameter(torch.randn(2, WIDTH, dtype=torch.complex128))
            self.turned = nn.Parameter(torch.randn(3, WIDTH, dtype=torch.float64).t())

        def forward(self, z):
            turned = z @ self.turned.sum(dim=1, keepdim=True)
            shift = self.short.double().sum() + self.phase.real.sum(dim=0)
            return torch.tanh(self.linear(z)) + shift + turned

    before, rank_average.BUCKET, wrong = rank_average.BUCKET, 200, []
    try:
        for name in ("horizon-1", "horizon-2", "backprop"):
            torch.manual_seed(0)
            net = nn.ModuleList([*(Mixed() for _ in range(DEPTH)), Head().double()])
            other = copy.deepcopy(net)
            step(name, net, rank, process_group="world")
            step(name, other, process_group="none")
            pairs = zip(net.parameters(), other.parameters(), strict=True)
            for p, q in pairs:
                rough = 2e-2 * float(q.grad.abs().max()) if p.dtype == torch.bfloat16 else 1e-12
                if p.grad.dtype != p.dtype or p.grad.stride() != p.stride():
                    wrong.append(f"{name}: {p.grad.dtype}, strides {p.grad.stride()}")
                if float((p.grad - q.grad).abs().max()) > rough:
                    wrong.append(f"{name}: {p.dtype} is off")
    finally:
        rank_average.BUCKET = before
    return wrong


@check
def hooks_see_the_mean_once(rank):
    wrong = []
    for name in ("horizon-2", "backprop", "forward-2"):
        net, whole, seen = build(), build(), {}
        for key, p in net.named_parameters():
            p.register_post_accumulate_grad_hook(
                lambda p, key=key, seen=seen: seen.setdefault(key, p.grad.clone())
            )
        step(name, net, rank, process_group="world")
        step(name, whole, process_group="none")
        if words := apart(seen, gradients(whole)):
            wrong.append(f"{name}: {words}")
    return wrong


@check
def scaled_gradients_are_averaged_too(rank):
    wrong = []
    for name in METHODS:
        net, whole = build(), build()
        found = step(name, net, rank, process_group="world", grad_scaler=torch.amp.GradScaler("cpu"))
        wanted = step(name, whole, process_group="none")
        wrong += [] if abs(float(found - wanted)) < 1e-12 else [f"{name}: loss {found}, expected {wanted}"]
        scaled = {key: gradient / 2**16 for key, gradient in gradients(net).items()}
        if words := apart(scaled, gradients(whole)):
            wrong.append(f"{name}: {words}")
    return wrong


@check
def methods_from_outside_the_package(rank):
    """One that calls backward() by itself knows nothing of groups."""

    def own(blocks, x, loss_fn, readout=None):
        loss = loss_fn(readout(nn.Sequential(*blocks)(x), len(blocks)))
        loss.backward()
        return loss.detach()

    mine = Method("own", "own", None, "ours", True, own, one_pass, lambda depth: Predicted(1.0, 1.0))

    def run(name, net):
        x, loss_fn = batch(rank)
        return mine(net[:-1], x, loss_fn, net[-1], process_group="world")

    net, whole = build(), build()
    for _ in range(2):
        run("own", net)
        step("backprop", whole, process_group="none")
    words = apart(gradients(net), gradients(whole))
    asked = refused(DomainError, "process_group=", lambda: mine(net[:-1], *batch(rank), net[-1]))
    return [line for line in (words, asked) if line]


@check
def buffers_are_each_ranks_own(rank):
    net = build(norm=True)
    step("horizon-2", net, rank, process_group="world")
    alone = build(norm=True)
    step("horizon-2", alone, rank, process_group="none")
    same = all(torch.equal(a, b) for a, b in zip(net.buffers(), alone.buffers(), strict=True))
    means = gathered(net[0].norm.running_mean)
    return [] if same and not torch.equal(*means) else ["running statistics are not this rank's"]


@check
def the_batch_has_a_gradient_of_its_own(rank):
    wrong = []
    for name in ("horizon-2", "backprop", "accumulate-2"):
        found = []
        for group in ("world", "none"):
            x, loss_fn = batch(rank)
            x.requires_grad_()
            net = build()
            method(name)(net[:-1], x, loss_fn, net[-1], process_group=group)
            found.append(x.grad)
        wrong += [] if torch.equal(*found) else [f"{name}: off by {float((found[0] - found[1]).abs().max())}"]
    return wrong


@check
def groups_of_one_rank_and_groups_of_others(rank):
    groups = [dist.new_group([r]) for r in range(RANKS)]
    net, alone = build(), build()
    step("horizon-2", net, rank, process_group=groups[rank])
    step("horizon-2", alone, rank, process_group="none")
    words = apart(gradients(net), gradients(alone))
    other = refused(
        DomainError, "a group of", lambda: step("horizon-2", net, rank, process_group=groups[1 - rank])
    )
    return [line for line in (words, other) if line]


# --- refusal ----------------------------------------------------------------------------------------------


@check
def nothing_said_is_asked(rank):
    net = build()
    x, loss_fn = batch(rank)
    blocks, head = net[:-1], net[-1]
    calls = {name: partial(step, name, net, rank) for name in METHODS}
    calls["gradients"] = lambda: horizon_gradients(blocks, x, loss_fn, 2, head)
    calls["alignment"] = lambda: alignment(blocks, x, loss_fn, "all", head)
    calls["memory"] = lambda: step_memory(method("horizon-2"), blocks, x, loss_fn, head)
    split = load("digits", samples=40, test_samples=10)
    stack = model("mlp", split.task, depth=3, width=4, readout="shared")
    calls["train"] = lambda: train(stack, split, method("horizon-2"), Training(epochs=1), progress=False)
    wrong = [
        f"{name}: {words}"
        for name, call in calls.items()
        if (words := refused(DomainError, "2 processes", call))
    ]
    return wrong + ([".grad was touched"] if gradients(net) else [])


@check
def none_is_local_everywhere(rank):
    net = build()
    x, loss_fn = batch(rank)
    blocks, head = net[:-1], net[-1]
    split = load("digits", samples=40, test_samples=10)
    stacks = [model("mlp", split.task, depth=3, width=4, readout="shared") for _ in range(2)]
    knobs = Training(epochs=1, seed=rank)
    train(stacks[0], split, method("horizon-2"), knobs, progress=False, process_group="none")
    angles = alignment(blocks, x, loss_fn, "all", head, process_group="none").sin2
    with process_group("none"):
        train(stacks[1], split, method("horizon-2"), knobs, progress=False)
        again = alignment(blocks, x, loss_fn, "all", head).sin2
        step_memory(method("horizon-2"), blocks, x, loss_fn, head)
    same = all(torch.equal(p, q) for p, q in zip(stacks[0].parameters(), stacks[1].parameters(), strict=True))
    wrong = [] if same and (angles == again).all() else ["the argument and the context differ"]
    weights = gathered(torch.cat([p.detach().flatten() for p in stacks[0].parameters()]))
    wrong += [] if not torch.equal(*weights) else ["ranks with seeds of their own trained one model"]
    for what, call in {
        "alignment": lambda: alignment(blocks, x, loss_fn, "all", head, process_group="world"),
        "train": lambda: train(stacks[0], split, method("greedy"), progress=False, process_group="world"),
    }.items():
        words = refused(DomainError, f"{what} is of one process", call)
        wrong += [words] if words else []
    return wrong


@check
def sharded_parameters_are_refused(rank):
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.tensor import distribute_tensor

    def by_tensor(net):
        weight = net[1].linear.weight
        net[1].linear.weight = nn.Parameter(distribute_tensor(weight.detach(), mesh))

    def by_wrapper(net):
        net[1] = FullyShardedDataParallel(net[1], device_id=torch.device("cpu"))

    mesh, wrong = init_device_mesh("cpu", (RANKS,)), []
    ways = {
        "fully_shard": lambda net: fully_shard(net[1], mesh=mesh),
        "DTensor": by_tensor,
        "wrapper": by_wrapper,
    }
    for way, shard in ways.items():
        net = build()
        shard(net)
        for name in METHODS:
            for group in ("world", "none", None):
                call = partial(step, name, net, rank, process_group=group)
                words = refused(DomainError, "block 1 is sharded", call)
                wrong += [f"{way}, {name}, {group}: {words}"] if words else []
        x, loss_fn = batch(rank)
        for call in (
            partial(horizon_gradients, net[:-1], x, loss_fn, 2, net[-1], process_group="world"),
            partial(alignment, net[:-1], x, loss_fn, [1], net[-1], process_group="none"),
        ):
            words = refused(DomainError, "block 1 is sharded", call)
            wrong += [f"{way}: {words}"] if words else []
    return wrong


@check
def a_failing_rank_ends_the_step_on_all(rank):
    wrong = []
    for name in METHODS:
        net = build()
        x, loss_fn = batch(rank)

        def broken(z, loss_fn=loss_fn):
            if rank == 1:
                raise ZeroDivisionError("of rank 1")
            return loss_fn(z)

        if name.startswith(("accumulate", "combined")):  # their loss comes in parts
            broken = Supervised(lambda z, y: broken_part(rank, z, y), loss_fn.target)
        error, words = (
            (ZeroDivisionError, "of rank 1") if rank == 1 else (DistributedError, "another process")
        )
        call = partial(method(name), net[:-1], x, broken, net[-1], process_group="world")
        said = refused(error, words, call)
        wrong += [f"{name}: {said}"] if said else []
        wrong += [f"{name}: .grad was touched"] if gradients(net) else []
    return wrong


def broken_part(rank, z, y):
    if rank == 1:
        raise ZeroDivisionError("of rank 1")
    return functional.cross_entropy(z, y)


@check
def ranks_that_train_other_parameters_are_refused(rank):
    wrong = []
    for change in ("frozen", "shape"):
        net = build()
        if rank == 1 and change == "frozen":
            net[2].linear.bias.requires_grad_(False)
        if rank == 1 and change == "shape":
            net[-1].linear = nn.Linear(WIDTH, 7).double()
        call = partial(step, "horizon-2", net, rank, process_group="world")
        words = refused(DistributedError, "different parameters", call)
        wrong += [f"{change}: {words}"] if words else []
        wrong += [".grad was touched"] if gradients(net) else []
    return wrong


@check
def an_input_with_a_history_is_refused(rank):
    net, stem = build(), nn.Linear(WIDTH, WIDTH).double()
    x, loss_fn = batch(rank)
    words = refused(
        DomainError,
        "x has a history",
        lambda: method("horizon-2")(net[:-1], stem(x), loss_fn, net[-1], process_group="world"),
    )
    return [words] if words else []


@check
def sparse_gradients_are_refused_on_all_ranks(rank):
    torch.manual_seed(0)
    blocks = nn.ModuleList([nn.Embedding(5, WIDTH, sparse=True), nn.Linear(WIDTH, WIDTH)])
    words = refused(
        DomainError,
        "sparse",
        lambda: method("horizon-1")(
            blocks, torch.tensor([0, 1 + rank]), lambda z: z.square().sum(), process_group="world"
        ),
    )
    return [words] if words else []


@check
def wrappers_that_contradict_are_refused(rank):
    net = build()
    x, loss_fn = batch(rank)
    blocks, head = [DistributedDataParallel(b) for b in net[:-1]], DistributedDataParallel(net[-1])
    other = dist.new_group(list(range(RANKS)))
    hooked = DistributedDataParallel(copy.deepcopy(net[0]))
    hooked.register_comm_hook(None, lambda state, bucket: torch.futures.Future())
    part = copy.deepcopy(net[0])
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(part, ["linear.bias"])
    run = method("horizon-2")
    calls = {
        "the readout is trained outside": lambda: run(blocks, x, loss_fn, net[-1]),
        "block 1 is trained outside": lambda: run([blocks[0], net[1]], x, loss_fn, head),
        "for another group than process_group": lambda: run(blocks, x, loss_fn, head, process_group=other),
        "another process group than block 0": lambda: run(
            [blocks[0], DistributedDataParallel(net[1], process_group=other)], x, loss_fn, head
        ),
        "with a communication hook": lambda: run([hooked, *blocks], x, loss_fn, head),
        "parameters to ignore": lambda: run(
            [DistributedDataParallel(part), *blocks], x, loss_fn, head, process_group="world"
        ),
    }
    wrong = [words for said, call in calls.items() if (words := refused(DomainError, said, call))]
    with blocks[1].no_sync():
        words = refused(
            DomainError, "block 1 is inside no_sync() or not", lambda: run(blocks, x, loss_fn, head)
        )
    return [*wrong, *([words] if words else []), *([".grad was touched"] if gradients(net) else [])]


@check
def other_words_are_refused(rank):
    net = build()
    wrong = []
    for value in ("all", "World", 2, True, object(), b"none"):
        call = partial(step, "horizon-1", net, rank, process_group=value)
        words = refused(DomainError, "allowed are 'world', 'none'", call)
        wrong += [f"{value!r}: {words}"] if words else []
    return wrong


def main(rank, store, results, *names):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS, timeout=timedelta(seconds=60)
    )
    found = {}
    for name in names or CHECKS:
        try:
            wrong = CHECKS[name](rank)
            found[name] = "ok" if not wrong else "; ".join(wrong)[:2000]
        except (Exception, DlinearError):
            found[name] = traceback.format_exc()
        with open(results, "w", encoding="utf-8") as stream:
            json.dump(found, stream)
    dist.destroy_process_group()


def fork(folder, *names):
    """Every rank, from this process, which has imported what they need and done nothing."""
    for rank in range(RANKS):
        if not os.fork():
            os.dup2(os.open(f"{folder}/{rank}.txt", os.O_CREAT | os.O_WRONLY), sys.stderr.fileno())
            main(rank, f"{folder}/store", f"{folder}/{rank}.json", *names)
            return
    for _ in range(RANKS):
        os.wait()


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    fork(*sys.argv[1:])
