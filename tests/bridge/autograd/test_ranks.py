"""Steps of two gloo ranks, whose checks are in tests/support/rank_checks.py; and of one process."""

from __future__ import annotations

import json
import os
import sys

import children
import pytest
import torch
from paths import ROOT
from rank_checks import CHECKS, RANKS, Head, batch, build, gradients

from dlinear.bridge import alignment, horizon_backward, horizon_gradients, method, process_group
from dlinear.bridge.autograd.gradient_sum import collecting
from dlinear.errors import DomainError

SECONDS = 240


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the two processes say of each check, rank by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    script = ROOT / "tests" / "support" / "rank_checks.py"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(script.parent)]),
        "GLOO_SOCKET_IFNAME": "lo",  # nothing but this machine can reach it
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(script), str(folder)]
    complaint = children.run(command, env=environment, cwd=folder, timeout=SECONDS).stderr
    results = []
    for rank in range(RANKS):
        path = folder / f"{rank}.json"
        errors = folder / f"{rank}.txt"
        said = errors.read_text(encoding="utf-8") if errors.exists() else ""
        assert path.exists(), said + complaint
        results.append((json.loads(path.read_text(encoding="utf-8")), said))
    return results


@pytest.mark.parametrize("name", CHECKS)
def test_two_ranks(name, found):
    for rank, (results, said) in enumerate(found):
        assert results.get(name, said) == "ok", f"rank {rank}: {results.get(name, said)}"


def test_one_process_needs_no_word():
    x, loss_fn = batch()
    one, other, third = build(), build(), build()
    horizon_backward(one[:-1], x, loss_fn, 2, one[-1])
    horizon_backward(other[:-1], x, loss_fn, 2, other[-1], process_group="none")
    with process_group("none"):
        method("horizon-2")(third[:-1], x, loss_fn, third[-1])
    for net in (other, third):
        for a, b in zip(gradients(one).values(), gradients(net).values(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("world", "torch.distributed does not run: call init_process_group first"),
        ("everyone", "process_group is 'everyone'; allowed are 'world', 'none' or a group of"),
        (0, "process_group is 0; allowed are"),
        (torch.zeros(2), "process_group is tensor"),
    ],
)
def test_a_group_that_is_none_is_refused_before_any_work(group, words):
    x, loss_fn = batch()
    net, head = build()[:-1], Head().double()
    calls = [
        lambda: method("backprop")(net, x, loss_fn, head, process_group=group),
        lambda: horizon_gradients(net, x, loss_fn, 2, head, process_group=group),
        lambda: alignment(net, x, loss_fn, "all", head, process_group=group),
        lambda: process_group(group).__enter__(),
    ]
    for call in calls:
        with pytest.raises(DomainError) as caught:
            call()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not gradients(net)


def test_collected_gradients_leave_grad_alone_also_after_an_error():
    net, (x, loss_fn) = build(), batch()
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    before = [p.grad for p in net.parameters()]
    with collecting(list(net.parameters())) as found:
        method("backprop")(net[:-1], x, loss_fn, net[-1])
        method("horizon-2")(net[:-1], x, loss_fn, net[-1])
        loss_fn(net[-1](x)).backward()  # by itself
    assert len(found) == len(before)
    assert all(p.grad is grad for p, grad in zip(net.parameters(), before, strict=True))
    with pytest.raises(ZeroDivisionError), collecting(list(net.parameters())):
        raise ZeroDivisionError
    assert all(p.grad is grad and (grad == 1).all() for p, grad in zip(net.parameters(), before, strict=True))
