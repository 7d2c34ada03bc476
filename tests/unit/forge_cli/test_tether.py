"""A tethered command follows the process that started it, and no other."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")


def tethered(parent: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "forge_cli.tether", parent, "/bin/echo", "it runs"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("is_in_a_file", [False, True])
def test_a_command_runs_for_its_parent(tmp_path, is_in_a_file):
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert tethered(str(tmp_path / "pid") if is_in_a_file else str(os.getpid())).stdout == "it runs\n"


def test_a_command_whose_parent_was_gone_before_it_could_be_tied_does_not_run():
    done = tethered(str(os.getppid()))  # as if that one had started it and died
    assert (done.returncode, done.stdout) == (1, "")
