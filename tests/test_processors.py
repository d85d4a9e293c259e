"""The bundled model on processors that this machine is not, emulated."""

import platform
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates one x86 on another")
def test_golden_pairs_hold_on_avx2_without_vnni():
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("no qemu-x86_64: apt-get install qemu-user")
    command = [emulator, "-cpu", "Haswell", sys.executable, "-m", "fastrerank", "verify"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    int8" in done.stdout
