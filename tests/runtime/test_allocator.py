"""A large block that is freed does not stay in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
PROGRAM = """
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from cenergyd.customers.passwords import MEMORY_KIB, hash_password
from cenergyd.runtime.allocator import return_large_blocks

def resident_kib():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

return_large_blocks()
before = resident_kib()
with ThreadPoolExecutor(1) as pool:
    for _ in range(3):
        pool.submit(hash_password, "password").result()
    print((resident_kib() - before) / MEMORY_KIB)
"""


@pytest.mark.skipif(not STATUS.exists(), reason="there is no /proc")
def test_the_memory_of_a_hash_is_returned() -> None:
    """Without the setting a thread that has hashed keeps the whole of it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5
