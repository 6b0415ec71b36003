"""torch devices: which, how much at once, reads; kernels, on a GPU or interpreted, against products."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from types import SimpleNamespace

import children
import numpy as np
import pytest
from paths import ROOT, SUPPORT

torch = pytest.importorskip("torch")

import device_checks  # noqa: E402

import dlinear  # noqa: E402
from dlinear.engine import Engine, Threads, backend_for, scan_products  # noqa: E402
from dlinear.engine.backends import NumpyBackend, TorchBackend  # noqa: E402
from dlinear.engine.device_chunk import DeviceChunk, chunk_of, scans_of  # noqa: E402
from dlinear.engine.products import Chunk  # noqa: E402
from dlinear.errors import DomainError  # noqa: E402
from dlinear.networks import philox_torch  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not TRITON, reason="Triton is not installed")


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


def test_cuda_is_the_current_device_for_all_threads(two_devices):
    assert TorchBackend("cuda").device == "cuda:1"
    assert TorchBackend("cuda:0").device == "cuda:0"
    with pytest.raises(DomainError, match=r"'cuda:2' received, but torch sees 2 CUDA devices"):
        TorchBackend("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", 3.5])
def test_a_device_that_is_none_is_refused_in_a_line(device):
    with pytest.raises(DomainError, match="expected 'cpu', 'cuda' or 'cuda:N'"):
        backend_for(device)


def test_a_gpu_has_longer_chunks_few_threads_and_a_quarter_of_its_memory(monkeypatch):
    monkeypatch.delenv("DLINEAR_THREADS", raising=False)
    net = SimpleNamespace(depth=10**8, width=10)
    card = SimpleNamespace(device="cuda:0", memory=80 << 30)
    engine = Engine(backend=card)
    assert engine.chunk_layers(net) == (1 << 26) // 100
    assert 5 * engine.working(net) < 1.1 * card.memory
    assert (
        Engine(backend=SimpleNamespace(device="cuda:0", memory=16 << 30)).chunk_layers(net)
        == (1 << 24) // 100
    )
    assert engine.scans == Threads(2)
    assert engine.held(net) == 20 << 30
    assert Engine(backend=card, team=Threads(4)).scans == Threads(4)
    assert Engine(backend=card, memory=1 << 30).held(net) == 1 << 30
    assert Engine().chunk_layers(net) == (1 << 19) // 100
    assert Engine().scans == Threads()
    monkeypatch.setenv("DLINEAR_THREADS", "3")
    assert Engine(backend=card).scans == Threads()


def test_numbers_are_read_at_once_and_known_ones_stay():
    backend = TorchBackend("cpu", "float32")
    third = np.float64(1) / 3
    ones = torch.ones(2, 2, dtype=torch.float32)
    with device_checks.Launches() as counter:
        found = backend.numbers([third, backend.inner(ones, ones), 2.0, ones.sum()])
    assert found.tolist() == [third, 4.0, 2.0, 4.0]
    assert counter.reads == 1
    assert backend.numbers([1.5]).tolist() == NumpyBackend().numbers([1.5]).tolist() == [1.5]


@pytest.mark.parametrize("n", [1, 10, 65])
def test_scans_by_products_are_those_of_numpys_blocks(n):
    depths = (1, 2, 16, 17, 64, 136, 273) if n < 65 else (2, 17, 24)
    assert 0 < device_checks.scans("cpu", (n,), depths) < 2e-13


def test_products_launch_little_and_read_once_a_pass():
    (few, reads), (more, _) = (device_checks.launches("cpu", length=length) for length in (500, 4000))
    assert reads == 2
    assert few <= 200
    assert more - few <= 90, "one level more for eight times the layers"


def test_kernels_are_chosen_by_backend_and_width():
    layers = torch.zeros(3, 2, 2, dtype=torch.float64)
    assert type(chunk_of(layers, TorchBackend("cpu"))) is DeviceChunk
    assert type(chunk_of(layers.numpy(), NumpyBackend())) is Chunk
    assert TorchBackend("cpu", "float32").kernel == TorchBackend("cpu").kernel == "products"
    assert scans_of(SimpleNamespace(kernel="triton"), 65) is scan_products
    assert scans_of(SimpleNamespace(kernel="products"), 3) is scan_products


@needs_triton
@pytest.mark.slow
def test_interpreted_kernels_give_the_numbers_of_products():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    process = children.start([sys.executable, str(SUPPORT / "device_checks.py")], cwd=ROOT, env=environment)
    said, complaint = process.communicate(timeout=150)
    assert process.returncode == 0, complaint
    found = json.loads(said.splitlines()[-1])
    assert found["kernel"] == "triton"
    assert 0 < found["scans"] < 1e-13
    assert 0 < found["normals"] < 2e-15
    assert 0 < found["angles"] < 1e-12
    launches, reads = found["launches"]
    assert launches <= 30
    assert reads <= 2, "one in each of the two passes"


@needs_cuda
@needs_triton
def test_kernels_on_cuda_give_the_numbers_of_products():
    assert device_checks.scans("cuda", (1, 4, 10, 17, 32, 64), (1, 129, 5000)) < 1e-12
    assert device_checks.normals("cuda", 100_001) < 1e-14


@needs_cuda
@pytest.mark.parametrize("n", [1, 10, 40])
def test_angles_on_cuda_are_numpys(n):
    assert device_checks.angles("cuda", 900, n, 300) < 1e-10


@needs_cuda
def test_a_dense_network_on_cuda_goes_by_pinned_memory():
    layers = np.random.default_rng(0).normal(size=(3000, 8, 8)) / 3000
    net, phi = dlinear.DenseNetwork(layers), np.diag(np.arange(8.0))
    assert torch.equal(backend_for("cuda").array(layers).cpu(), torch.as_tensor(layers))
    want, got = (
        dlinear.alignment(net, phi, [2990, 1500], engine=Engine(backend_for(d))) for d in (None, "cuda")
    )
    assert np.abs(got.sin2 / want.sin2 - 1).max() < 1e-10


@needs_cuda
def test_launches_on_cuda_are_few():
    launches, _ = device_checks.launches("cuda", length=5000)
    assert launches <= 30


def test_kernels_of_a_gpu_have_a_variable_of_their_own(monkeypatch):
    """A sweep sets DLINEAR_KERNELS to go on as it began, on the CPU."""
    monkeypatch.setattr(philox_torch, "_triton", lambda: True)
    monkeypatch.delenv("DLINEAR_GPU_KERNELS", raising=False)
    monkeypatch.setenv("DLINEAR_KERNELS", "off")
    assert philox_torch.compiled_on("cuda:0")
    assert not philox_torch.compiled_on("cpu") or os.environ.get("TRITON_INTERPRET") == "1"
    monkeypatch.setenv("DLINEAR_GPU_KERNELS", "off")
    assert not philox_torch.compiled_on("cuda:0")
