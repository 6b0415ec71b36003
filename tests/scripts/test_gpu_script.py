"""`make gpu` as a dry run on CPU tensors: what it checks, that a wrong number fails, its limit of time."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from paths import ROOT  # noqa: E402

from benchmarks import gpu, gpu_checks, gpu_record  # noqa: E402
from benchmarks.launches import Launches  # noqa: E402
from dlinear.analysis.profiles import shortfalls  # noqa: E402
from dlinear.engine.backends import TorchBackend  # noqa: E402


def run(folder, *parts, budget=100, more=()):
    words = ["--device", "cpu", "--small", "--out", str(folder), "--budget", str(budget), "--parts", *parts]
    return gpu.main([*words, *more])


def test_a_dry_run_on_cpu_tensors_writes_record_and_page(tmp_path, capsys):
    assert run(tmp_path, "card", "generator", "angles", "floor", "launches") == 0
    tables = gpu_record.read(tmp_path / "gpu.json")
    assert [one.name for one in tables] == ["card", "generator", "angles", "floor", "launches"]
    numbers = {one.name: one.numbers for one in tables}
    assert 0 < numbers["generator"]["worst"] < 1e-14
    assert 0 < numbers["angles"]["worst"] < 1e-12
    assert numbers["launches"]["kernels"] > 0 < numbers["launches"]["reads"]
    assert (tmp_path / "gpu.md").read_text(encoding="utf-8") == gpu_record.page(tables)
    said = capsys.readouterr().out
    assert all(one.title in said for one in tables)
    assert gpu.main(["--page", str(tmp_path / "gpu.json")]) == 0
    assert capsys.readouterr().out == gpu_record.page(tables)


def test_a_wrong_normal_fails(tmp_path, monkeypatch, capsys):
    right = gpu_checks.standard_normals_on
    monkeypatch.setattr(gpu_checks, "standard_normals_on", lambda *given: right(*given) * (1 + 1e-12))
    assert run(tmp_path, "generator") == 1
    assert "FAILED: seed 7, start 3: normals differ by" in capsys.readouterr().out


def test_a_wrong_angle_fails(tmp_path, monkeypatch, capsys):
    array = TorchBackend.array
    monkeypatch.setattr(TorchBackend, "array", lambda self, values: array(self, values) * (1 + 1e-6))
    assert run(tmp_path, "angles") == 1
    assert "sin^2 differs by" in capsys.readouterr().out


def test_a_part_that_breaks_off_is_told_and_the_next_ones_are_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu.gpu_floor, "floor", lambda *given: 1 / 0)
    assert run(tmp_path, "floor", "launches") == 1
    said = capsys.readouterr().out
    assert "FAILED: ZeroDivisionError" in said
    assert "kernels a chunk" in said


def test_without_time_every_part_says_so(tmp_path, capsys):
    assert run(tmp_path, *gpu.PARTS, budget=-1) == 0
    assert capsys.readouterr().out.count("Not run") == len(gpu.PARTS)


@pytest.mark.slow
def test_a_depth_is_timed_in_a_process_with_the_package_of_a_checkout():
    (one,) = gpu.worker(ROOT, "cpu", [2000], 30)
    assert (one["depth"], one["kernel"], len(one["sin2"])) == (
        2000,
        "products",
        len(shortfalls(2000, 16, 0.01)),
    )


def test_times_fail_where_the_device_has_other_numbers(tmp_path, monkeypatch, capsys):
    errors = [0.0]

    def worker(checkout, device, depths, seconds, *more, kernels=""):
        value = 1.0 if device is None else 1.0 + errors[-1]
        return [
            {"depth": d, "seconds": d / 1e4, "bytes": 0.0, "sin2": [value], "first_call": 1.0} for d in depths
        ]

    monkeypatch.setattr(gpu, "worker", worker)
    for error, status in ((5e-10, 0), (2e-9, 1)):
        errors.append(error)
        assert run(tmp_path, "times", more=("--compare", str(ROOT))) == status
        (table,) = gpu_record.read(tmp_path / "gpu.json")
        assert list(table.numbers) == list(gpu.WAYS)
        assert len(table.failures) == 2 * status
    assert "sin^2 differs from numpy by 2.0e-09" in capsys.readouterr().out


def test_launches_count_operations_with_data_and_reads():
    x = torch.ones(4, 3, 3, dtype=torch.float64)
    with Launches() as counter:
        y = (x @ x).mT[1:].reshape(-1)
        y += 1
        float(y.sum())
        y.cpu().numpy()
    assert counter.names == {"bmm": 1, "add_": 1, "sum": 1, "clone": 1}
    assert (counter.kernels, counter.reads) == (4, 2)
    y.numpy()
    assert counter.reads == 2


def test_the_page_of_the_documents_is_that_of_its_record():
    record = ROOT / "docs" / "gpu.json"
    if not record.exists():
        pytest.skip("no card has been measured")
    page = gpu_record.page(gpu_record.read(record))
    assert (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8") == page
    assert json.loads(record.read_text(encoding="utf-8"))
