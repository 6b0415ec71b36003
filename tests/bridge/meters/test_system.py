"""Meters of the machine: against computations of known size, fake RAPL trees and a fake NVML."""

from __future__ import annotations

import dataclasses
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dlinear.bridge.meters import nvml, process, rapl, system
from dlinear.bridge.meters.system import NOT_MEASURABLE, SystemMeter, throughput, time_to, words
from dlinear.errors import DomainError, MeterError


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_busy_process_uses_one_core_and_a_waiting_one_none():
    """Other work on the machine takes wall time, and no processor time of this process."""
    with SystemMeter() as meter:
        busy(0.2)
    assert meter.use.cpu == pytest.approx(0.2, abs=0.05)
    assert meter.use.cores_busy < 1.05
    with SystemMeter() as meter:
        time.sleep(0.1)
    assert meter.use.cores_busy < 0.3
    assert meter.use.wall > 0.09


@pytest.mark.parametrize("cores", [0.0, 1.0, 3.5])
def test_cores_are_processor_time_over_wall_time(cores, monkeypatch):
    wall = iter([10.0, 14.0])
    clocks = SimpleNamespace(
        perf_counter=lambda: next(wall), process_time=iter([1.0, 1 + 4 * cores]).__next__
    )
    monkeypatch.setattr(system, "time", clocks)
    with SystemMeter() as meter:
        pass
    assert (meter.use.wall, meter.use.cores_busy) == (4.0, cores)


def test_utilisation_is_of_the_cores_that_the_process_may_use():
    use = system.SystemUse(wall=2.0, cpu=3.0, cores=4)
    assert use.cores_busy == 1.5
    assert use.utilisation == 0.375
    assert process.cores() >= 1


def test_the_peak_sees_an_allocation_that_is_gone_and_forgets_it():
    with SystemMeter() as before:
        pass
    with SystemMeter() as meter:
        some = np.ones(200 * 2**20, np.uint8)
        del some
    grown = meter.use.peak_memory - before.use.peak_memory
    assert 190e6 < grown < 260e6
    with SystemMeter() as after:
        pass
    assert after.use.peak_memory < meter.use.peak_memory - 150e6
    assert process.peak_memory().source == "VmHWM"


def test_another_counter_where_proc_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "STATUS", tmp_path / "none")
    monkeypatch.setattr(process, "CLEAR", tmp_path / "none" / "either")
    found = process.peak_memory()
    assert found.source == "ru_maxrss"
    assert 5e6 < found.peak < 1e11
    assert not process.reset_peak_memory()


def test_the_load_is_over_the_cores(monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "getloadavg", lambda: (6.0, 1.0, 1.0))
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    assert process.load() == 1.5


def zone(root, name, label, microjoules, span=1000):
    folder = root / name
    folder.mkdir()
    for file, value in (("name", label), ("energy_uj", microjoules), ("max_energy_range_uj", span)):
        (folder / file).write_text(f"{value}\n")
    return folder


@pytest.fixture
def powercap(tmp_path):
    """Two packages, memory beside the first, a part of it, and the sum of all that must not count again."""
    zone(tmp_path, "intel-rapl:0", "package-0", 900)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    zone(tmp_path, "intel-rapl:0:1", "dram", 10)
    zone(tmp_path, "intel-rapl:1", "package-1", 5)
    zone(tmp_path, "intel-rapl:2", "psys", 7)
    return tmp_path


def spend(root, **now):
    for name, value in now.items():
        (root / f"intel-rapl:{name[1:].replace('_', ':')}" / "energy_uj").write_text(str(value))


def test_rapl_adds_packages_and_memory_over_the_wrap_around(powercap):
    assert [one.name for one in rapl.rapl_zones(powercap)] == ["package-0", "dram", "package-1"]
    counter = rapl.RaplCounter(powercap)
    assert counter.joules == 0
    spend(powercap, z0=950, z0_0=800, z0_1=30, z1=5, z2=500)
    counter.update()
    assert counter.joules == pytest.approx(70e-6)
    spend(powercap, z0=20)  # 950 -> 1000 -> 20
    counter.update()
    assert counter.joules == pytest.approx(140e-6)


def test_rapl_that_cannot_be_read_is_not_measurable(powercap, tmp_path):
    assert rapl.RaplCounter(tmp_path / "none").joules is None
    counter = rapl.RaplCounter(powercap)
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    counter.update()
    assert counter.joules is None
    assert rapl.rapl_zones(powercap) == []  # one package alone would look like the machine
    with SystemMeter(powercap=powercap) as meter:
        pass
    assert words(meter.use.cpu_joules, "J") == NOT_MEASURABLE


def test_a_meter_reads_rapl_unless_others_compute_beside_it(powercap):
    with SystemMeter(powercap=powercap) as meter:
        spend(powercap, z0=990)
    assert meter.use.cpu_joules == pytest.approx(90e-6)
    with SystemMeter(powercap=powercap, alone=False) as meter:
        spend(powercap, z0=995)
    assert meter.use.cpu_joules is None


class FakeNvml:
    """One card whose power rises by 100 W a second; utilisation 50 %."""

    class NVMLError(Exception):
        pass

    def __init__(self, counter=True, power=True, processes=1):
        self.now, self.counter, self.power, self.processes = 0.0, counter, power, processes

    def joules(self):
        return 50 * self.now**2

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if not self.counter:
            raise self.NVMLError("not supported")
        return 1000 * (5000 + self.joules())

    def nvmlDeviceGetPowerUsage(self, handle):
        if not self.power:
            raise self.NVMLError("not supported")
        return 1000 * 100 * self.now

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=50 if self.now else 7, memory=1)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=k) for k in range(self.processes)]


def card(library):
    return nvml.CardCounter(library, "card", clock=lambda: library.now)


@pytest.mark.parametrize(
    ("words_of", "joules", "source"),
    [
        ({}, 450.0, "counter"),
        ({"counter": False}, 450.0, "sampled power"),
        ({"counter": False, "power": False}, None, ""),
    ],
    ids=["counter", "power", "neither"],
)
def test_energy_of_a_card(words_of, joules, source):
    library = FakeNvml(**words_of)
    counter = card(library)
    for now in (1.0, 1.5, 3.0):
        library.now = now
        counter.update()
    found, where = counter.energy()
    assert where == source
    assert found == (None if joules is None else pytest.approx(joules, rel=1e-5))
    assert counter.utilisation == 0.5  # the first sample is of the time before
    assert not counter.shared


def test_a_meter_with_a_card(monkeypatch):
    monkeypatch.setattr(system, "SHORTEST", 0.0)
    for processes, joules in ((1, 200.0), (2, None)):
        library = FakeNvml(processes=processes)
        with SystemMeter(cards=lambda device, library=library: card(library)) as meter:
            library.now = 2.0
        assert meter.use.gpu_joules == joules
        assert meter.use.gpu_energy_source == ("" if joules is None else "counter")
        if joules is not None:
            assert meter.use.gpu_watts == pytest.approx(joules / meter.use.wall)


def test_a_card_is_not_measured_in_too_short_a_time_or_beside_others():
    library = FakeNvml()
    for alone in (True, False):
        with SystemMeter(cards=lambda device: card(library), alone=alone) as meter:
            library.now += 2.0
        assert meter.use.gpu_joules is None
        assert meter.use.gpu_utilisation is None


def test_a_processor_has_no_card():
    assert nvml.card_of(torch.device("cpu")) is None
    with SystemMeter() as meter:
        pass
    fields = [field.name for field in dataclasses.fields(meter.use) if field.name.startswith("gpu_")]
    assert len(fields) == 6
    assert {getattr(meter.use, name) for name in fields} == {None, ""}


def test_words():
    assert words(None) == words(math.nan, "J") == NOT_MEASURABLE == "not measurable here"
    assert words(1234.0, "J") == "1.23e+03 J"
    assert words(0.0) == "0"


def test_a_result_before_the_end_is_refused():
    with SystemMeter() as meter, pytest.raises(MeterError, match="has not ended"):
        _ = meter.use


def test_throughput_counts_its_runs_without_the_warm_up():
    calls = []
    found = throughput(lambda: calls.append(busy(0.01)), samples=10, seconds=0.1)
    assert found.runs == len(calls) - 2 >= 3
    assert found.samples_per_second == pytest.approx(10 * found.runs / found.use.wall)
    assert found.samples_per_second < 1000
    assert found.per_sample(2.0 * found.runs) == pytest.approx(0.2)
    assert found.per_sample(None) is None
    with pytest.raises(DomainError, match="samples"):
        throughput(busy, samples=0)


def test_time_to_a_target_is_when_it_was_first_measured():
    assert time_to(0.9, [0, 1, 2, 3], [0.1, 0.95, 0.8, 0.99]) == 1.0
    assert time_to(0.97, [0, 1, 2, 3], [0.1, 0.95, 0.8, 0.99]) == 3.0
    assert time_to(0.995, [0, 1, 2, 3], [0.1, 0.95, 0.8, math.nan]) is None
    with pytest.raises(DomainError, match="3 times and 2 values"):
        time_to(0.9, [0, 1, 2], [0.1, 0.2])
