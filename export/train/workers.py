"""Worker threads, each computing on one core.

Threads of one operation wait for each other some hundred times a step; on a machine that does
other work too, the slowest of them sets the pace. Whole lists are handed to workers instead: they
meet once a step. A list's result does not depend on who computes it, so a run can be repeated.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch

from fastrerank.cores import usable_cores


@lru_cache(maxsize=1)
def workers() -> ThreadPoolExecutor:
    """Return the pool: a thread per core of this process, or ``OMP_NUM_THREADS`` of them."""
    count = int(os.environ.get("OMP_NUM_THREADS", "0")) or usable_cores()
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
