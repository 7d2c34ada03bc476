"""Checks of what is installed: pinned packages, torch and the devices it sees, the encoder."""

import json
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from forge_cli.doctor.finding import Finding, broken, doubtful, well
from forge_cli.doctor.ground import Ground, Said

_REPOSITORY = Path(__file__).resolve().parents[2]
_LOCK = _REPOSITORY / "requirements.lock"
_PLATFORM = "forge-platform"
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")
_AGAIN = "install what is pinned: make setup, or pip install -r requirements.lock"
_NVIDIA = "0x10de"
_DISPLAYS = ("0x03", "0x12")


def pins(_ground: Ground) -> Iterator[Finding]:
    """The packages of the lock; without one, those that this distribution names."""
    needed = _needed()
    if not _LOCK.is_file():
        missing = sorted(name for name in needed if _installed(name) is None)
        if missing:
            yield broken("packages", f"not installed: {', '.join(missing)}", "install the distribution again")
        else:
            yield well("packages", "all that is needed is installed; there is no lock to compare with")
        return
    pinned = {_plain(name): pin for name, pin in _PIN.findall(_LOCK.read_text("utf-8"))}
    wrong = {
        name: f"{name} {_installed(name) or 'missing'}, not {pin}"
        for name, pin in pinned.items()
        if _differs(name, pin)
    }
    serious = [told for name, told in wrong.items() if name in needed]
    if serious:
        yield broken("packages", f"other packages than pinned: {_some(serious)}", _AGAIN)
    others = {name: told for name, told in wrong.items() if name not in needed}
    is_for_use_only = all(_installed(name) is None for name in others)
    if others and not is_for_use_only:
        yield doubtful("packages", f"packages for development differ: {_some(list(others.values()))}", _AGAIN)
    elif not serious:
        less = f"; {len(others)} for development are not, and nothing else needs them" if others else ""
        yield well("packages", f"{len(pinned) - len(others)} pinned packages are installed{less}")


def _needed() -> set[str]:
    """What running Forge takes, with what that takes in turn."""
    waiting = [(_PLATFORM, ""), (_PLATFORM, "worker")]
    found: set[tuple[str, str]] = set()
    while waiting:
        for wanted in _required(*waiting.pop()):
            more = {(_plain(wanted.name), extra) for extra in ("", *wanted.extras)} - found
            found |= more
            waiting += more
    return {name for name, _ in found}


def _required(name: str, extra: str) -> list[Requirement]:
    """What a package takes on this machine, or one of its extras does."""
    try:
        wanted = [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:
        return []
    return [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})]


def _differs(name: str, pin: str) -> bool:
    # The build of torch, as in 2.13.0+cpu, is a matter of the machine and is looked at below.
    return (_installed(name) or "").partition("+")[0] != pin.partition("+")[0]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _some(names: list[str], most: int = 6) -> str:
    return "; ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def torch(ground: Ground) -> Iterator[Finding]:
    """Torch, and the devices that it and the system see."""
    said = ground.torch.said
    try:
        found: dict[str, Any] = json.loads(said.out)
    except ValueError:
        yield broken("torch", f"torch cannot be imported: {said.last_words}", _AGAIN)
        return
    build = f"for CUDA {found['cuda']}" if found["cuda"] else "for the CPU"
    yield well("torch", f"torch {found['version']}, built {build}, can be imported")
    yield from _devices(found, ground.nvidia.said)


def _devices(torch_found: dict[str, Any], driver_said: Said) -> Iterator[Finding]:
    """What torch, the driver and the bus say of NVIDIA devices, held against each other."""
    known = [line.strip() for line in driver_said.out.splitlines() if line.strip()] if driver_said.code == 0 else []
    files = _device_files()
    if torch_found["devices"]:
        drivers = ", ".join(sorted({line.rpartition(",")[2].strip() for line in known})) or "unknown"
        yield well("gpu", f"torch sees {', '.join(torch_found['devices'])}; the driver is {drivers}")
    elif known and not torch_found["cuda"]:
        text = f"there is {'; '.join(known)}, but torch is built for the CPU"
        yield broken("gpu", text, "install the build for CUDA: pip install --force-reinstall torch==VERSION from PyPI")
    elif known:
        text = f"there is {'; '.join(known)}, but torch for CUDA {torch_found['cuda']} cannot use it"
        yield broken("gpu", text, "update the driver, or see whether this user may open /dev/nvidia*")
    elif files:
        text = f"/dev/{files[0]} exists, but nvidia-smi says nothing of it: {driver_said.last_words}"
        yield broken("gpu", text, "install the driver's tools: fleets that discover devices ask nvidia-smi")
    elif _is_on_the_bus():
        yield doubtful("gpu", "an NVIDIA device is on the bus, but has no driver", "install NVIDIA's driver to use it")
    else:
        yield well("gpu", "no NVIDIA device: renders run on the CPU")


def _device_files() -> list[str]:
    return sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))


def _is_on_the_bus() -> bool:
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAYS):
            return True
    return False


def services(ground: Ground) -> Iterator[Finding]:
    """That the services can be imported, and say what the checks after this one ask them."""
    if ground.services:
        yield well("services", "the services can be imported")
        return
    text = "the services cannot be imported, so settings, files of config/, weights and encoder are unknown"
    yield broken("services", f"{text}: {ground.services_said.last_words}", _AGAIN)


def encoder(ground: Ground) -> Iterator[Finding]:
    """A tiny video, encoded as workers do it."""
    found = ground.services.get("encoder")
    if found is None:
        return
    if found["faults"]:
        yield broken("encoder", f"no video can be encoded: {'; '.join(found['faults'])}", _AGAIN)
        return
    ffmpeg = "ffmpeg is here too" if shutil.which("ffmpeg") else "no ffmpeg is needed"
    pyav = distribution("av").version if _installed("av") else "of unknown version"
    yield well("encoder", f"PyAV {pyav} encodes H.264: {found['bytes']} bytes for two pictures; {ffmpeg}")
