"""The processor cores that this process may really use."""

import math
import os
from pathlib import Path


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the cores allowed by affinity and by the cgroup's CPU quota, at least 1.

    A container that is given half of a large machine sees all of its cores in os.cpu_count();
    threads beyond the quota only wait for each other.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_quota(cgroup)
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def _cgroup_quota(cgroup: Path) -> float | None:
    """Return the quota in cores, from cgroup v2 (cpu.max) or v1 (cpu.cfs_*), None if unlimited."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return None
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None  # "max": no limit
    return cores if cores > 0 else None
