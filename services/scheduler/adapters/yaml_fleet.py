"""Fleet files: which slots exist."""

import asyncio
import shutil
from pathlib import Path

from pydantic import Field

from services.chassis.strict_yaml import ConfigurationInvalid, StrictShape, read_document
from services.scheduler.domain.fleet import Fleet, Slot, Target


class _SlotEntry(StrictShape):
    gpu_type: str = Field(min_length=1)
    region: str = Field(min_length=1)
    count: int = Field(default=1, ge=1, le=1024)
    simulated: bool = False
    memory_gib: float | None = Field(default=None, gt=0)


class _FleetFile(StrictShape):
    slots: list[_SlotEntry] = []  # noqa: RUF012 — pydantic copies defaults
    discover: bool = False
    region: str = "local"


async def read_fleet(name_or_path: str, config_dir: Path) -> Fleet:
    """Read a fleet by the name of a file in `config_dir`/fleets, or by path. Raises ConfigurationInvalid."""
    path = Path(name_or_path) if "/" in name_or_path or "." in name_or_path else None
    path = path or config_dir / "fleets" / f"{name_or_path}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in (config_dir / "fleets").glob("*.yaml")))
        raise ConfigurationInvalid([f"{path}: there is no such fleet file; known fleets are: {names}"])
    parsed = read_document(path, _FleetFile).content
    slots = [
        Slot(
            id=f"{entry.gpu_type}-{entry.region}-{index}",
            target=Target(entry.gpu_type, entry.region, entry.simulated),
            # A simulated device is the CPU in disguise; real ones are numbered in the order of the file.
            device="cpu" if entry.simulated else f"cuda:{sum(e.count for e in parsed.slots[:position]) + index}",
            memory_gib=None if entry.simulated else entry.memory_gib,
        )
        for position, entry in enumerate(parsed.slots)
        for index in range(entry.count)
    ]
    if parsed.discover:
        slots += await _discovered(parsed.region)
    if not slots:
        raise ConfigurationInvalid([f"{path}: a fleet needs at least one slot; list some, or set 'discover: true'"])
    return Fleet(name=path.stem, slots=tuple(slots))


async def _discovered(region: str) -> list[Slot]:
    """The NVIDIA devices of this machine, or its CPU when there is none."""
    slots = []
    if shutil.which("nvidia-smi"):
        process = await asyncio.create_subprocess_exec(
            "nvidia-smi",
            "--query-gpu=index,name,memory.total",
            "--format=csv,noheader,nounits",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        listing, _ = await process.communicate()
        for line in listing.decode().splitlines() if process.returncode == 0 else ():
            index, name, mebibytes = (part.strip() for part in line.split(","))
            target = Target(gpu_type_of(name), region)
            slots.append(Slot(f"{target.gpu_type}-{region}-{index}", target, f"cuda:{index}", float(mebibytes) / 1024))
    return slots or [Slot(f"CPU-{region}-0", Target("CPU", region), "cpu")]


def gpu_type_of(product_name: str) -> str:
    """The short name of a device: "NVIDIA H200" is H200, "NVIDIA RTX PRO 6000 Blackwell" is RTX6000."""
    words = product_name.removeprefix("NVIDIA").split()
    if words[:1] == ["RTX"]:
        return "RTX" + next((word for word in words if word.isdigit()), "")
    return next((word for word in words if any(c.isdigit() for c in word)), product_name.replace(" ", "-"))
