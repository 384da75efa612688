"""The source distribution has everything that the repository has: what was downloaded can be tested, too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MADE = {"PKG-INFO", "setup.cfg"}
"""What setuptools adds."""


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone: what belongs to it is not known")
def test_nothing_is_left_out_or_added(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {name for name in listed.split("\0") if name and (ROOT / name).exists()}
    copy = tmp_path / "copy"
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    build = "from setuptools import build_meta; print(build_meta.build_sdist('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with tarfile.open(copy / done.stdout.splitlines()[-1]) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    packed = {name for name in packed - MADE if not name.startswith("cenergyd.egg-info/")}
    assert packed == names
