"""A large block that is freed does not stay in memory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from cenergyd.customers.passwords import hash_password
from cenergyd.runtime.allocator import return_large_blocks
if {returned}:
    assert return_large_blocks()
with ThreadPoolExecutor(1) as pool:
    for _ in range(3):
        pool.submit(hash_password, "password").result()
    print(Path("/proc/self/status").read_text())
"""


def memory_kib(*, returned: bool) -> int:
    """Resident memory of a process, one of whose threads has hashed three passwords."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(returned=returned)], capture_output=True, text=True, check=True)  # fmt: skip
    found = re.search(r"VmRSS:\s+(\d+) kB", done.stdout)
    assert found is not None
    return int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_the_memory_of_a_hash_is_returned() -> None:
    assert memory_kib(returned=True) < memory_kib(returned=False) - 15_000  # of 19,456
