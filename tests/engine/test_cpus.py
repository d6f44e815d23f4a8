"""CPU threads follow the quota of the container, and used time is told."""

import os
import time
from pathlib import Path

import pytest

from service.engine.cpus import usable_cpus, used_cpu_s


@pytest.fixture(autouse=True)
def sixteen_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def usable(tmp_path: Path) -> int:
    return usable_cpus(proc=tmp_path / "proc", cgroups=tmp_path / "cgroup")


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu.max", "max 100000\n")
    assert usable(tmp_path) == 16


def test_a_quota_of_version_two_counts(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu.max", "250000 100000\n")
    assert usable(tmp_path) == 2


def test_a_quota_of_version_one_counts(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu/cpu.cfs_quota_us", "300000\n")
    write(tmp_path / "cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert usable(tmp_path) == 3


def test_no_quota_in_version_one_is_minus_one(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert usable(tmp_path) == 16


def test_the_strictest_group_around_the_process_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc/cgroup", "0::/pod/container\n")
    write(tmp_path / "cgroup/pod/cpu.max", "200000 100000\n")
    write(tmp_path / "cgroup/pod/container/cpu.max", "800000 100000\n")
    assert usable(tmp_path) == 2


def test_a_named_group_of_version_one_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc/cgroup", "5:memory:/pod\n4:cpu,cpuacct:/pod\n")
    write(tmp_path / "cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "400000\n")
    write(tmp_path / "cgroup/cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n")
    assert usable(tmp_path) == 4


def test_there_is_always_one(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu.max", "50000 100000\n")
    assert usable(tmp_path) == 1


def test_the_processor_time_of_a_process_is_told() -> None:
    before = used_cpu_s(os.getpid())
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    after = used_cpu_s(os.getpid())
    assert before is not None
    assert after is not None
    assert 0.08 <= after - before <= 1
    assert abs(after - time.process_time()) < 0.5


def test_a_command_with_blanks_and_parentheses_in_its_name_is_read(tmp_path: Path) -> None:
    write(tmp_path / "7/stat", "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0")
    assert used_cpu_s(7, proc=tmp_path) == 200 / os.sysconf("SC_CLK_TCK")


def test_a_process_that_has_ended_has_no_time(tmp_path: Path) -> None:
    assert used_cpu_s(7, proc=tmp_path) is None
