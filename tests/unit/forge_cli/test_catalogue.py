"""Rules of `forge catalogue check`: it runs the catalogue's own check and adds nothing to it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("status", [0, 1])
def test_a_check_ends_with_the_status_of_the_catalogues_own(run, monkeypatch, status):
    commands = []

    def ran(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr("subprocess.run", ran)
    done = run("catalogue", "check", "a.yaml", "b.yaml")
    assert (done.exit_code, done.output) == (status, "")
    assert commands == [[sys.executable, "-P", "-m", "services.catalog", "check", "a.yaml", "b.yaml"]]


def test_a_check_needs_a_file(run):
    assert run("catalogue", "check").exit_code == 2
