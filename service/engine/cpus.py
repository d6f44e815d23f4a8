"""How many CPU threads this process may really use, and how much a process has used.

A container's quota is invisible to `os.cpu_count`, and a network that runs on more threads than the quota allows is
throttled (seen elsewhere: 6 to 45 times slower).
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cpus(*, proc: Path = Path("/proc/self"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs that this process may use: its affinity, or the strictest quota of its control groups; at least 1.

    Args:
        proc: the process's folder.
        cgroups: where control groups are mounted, version 1 or 2.
    """
    quotas = [quota for folder in _cgroup_folders(proc, cgroups) for quota in _quotas(folder)]
    # Rounded down: a thread beyond a quota of 1.5 would be throttled half of the time, and hold up the other.
    return max(1, int(min([len(os.sched_getaffinity(0)), *quotas])))


def used_cpu_s(pid: int, *, proc: Path = Path("/proc")) -> float | None:
    """Processor time that all threads of a process have used, in steps of 10 ms; None if it has ended."""
    try:
        # The name of the command, which stands second and in parentheses, may hold blanks and parentheses.
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _cgroup_folders(proc: Path, cgroups: Path) -> Iterator[Path]:
    """The groups of this process and all groups around them; a container often sees its own as the root."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            inside = PurePosixPath(group.lstrip("/"))
            for mount in (cgroups / controllers, cgroups / "cpu"):
                yield from (mount / part for part in (inside, *inside.parents))
    yield from (cgroups, cgroups / "cpu")


def _quotas(folder: Path) -> Iterator[float]:
    """CPUs that the group's quota is worth; nothing where there is no quota."""
    match _words(folder / "cpu.max"):  # version 2: "max 100000" or "150000 100000"
        case [quota, period] if quota != "max":
            yield int(quota) / int(period)
    match _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us"):
        case [[quota], [period]] if int(quota) > 0:
            yield int(quota) / int(period)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
