"""Fleet files: which slots exist."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.chassis.strict_yaml import ConfigurationInvalid, StrictShape, read_document
from services.scheduler.domain.fleet import Fleet, Requirements, Slot, Target

_LabelKey = Annotated[str, Field(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", max_length=316)]
_LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", max_length=63)]

_RAY_NAMES = {"RTX6000": "RTX-PRO-6000"}
"""What Ray calls devices that have another name here."""


class _SlotEntry(StrictShape):
    gpu_type: str = Field(min_length=1)
    region: str = Field(min_length=1)
    count: int = Field(default=1, ge=1, le=1024)
    simulated: bool = False
    memory_gib: float | None = Field(default=None, gt=0)
    ray_labels: dict[_LabelKey, _LabelValue] | None = None
    """Of the machines of a Ray cluster that have these slots; any machine has them when empty."""
    ray_resources: dict[str, Annotated[float, Field(gt=0)]] = {}  # noqa: RUF012 — pydantic copies defaults
    """What Ray sets aside for each of them: a GPU, or for a simulated one a CPU, when left out."""

    @property
    def resources(self) -> Mapping[str, float]:
        """What Ray sets aside for each slot."""
        return self.ray_resources or {"CPU" if self.simulated else "GPU": 1.0}

    @property
    def device_on_cluster(self) -> str:
        """What its worker uses, which sees no devices but those that Ray set aside for it."""
        return "cuda:0" if "GPU" in self.resources and not self.simulated else "cpu"

    @property
    def requirements(self) -> Requirements:
        """What the slot asks of a machine of a Ray cluster."""
        labels = self.ray_labels
        if labels is None:
            known_as = _RAY_NAMES.get(self.gpu_type, self.gpu_type)
            labels = {"ray.io/accelerator-type": known_as, "ray.io/availability-region": self.region}
        return Requirements(tuple(sorted(labels.items())), tuple(sorted(self.resources.items())))


class _FleetFile(StrictShape):
    slots: list[_SlotEntry] = []  # noqa: RUF012 — pydantic copies defaults
    discover: bool = False
    region: str = "local"


async def read_fleet(name_or_path: str, config_dir: Path, *, on_cluster: bool = False) -> Fleet:
    """Read a fleet by the name of a file in `config_dir`/fleets, or by path. Raises ConfigurationInvalid.

    Its slots are on this machine or, `on_cluster`, on the machines of a Ray cluster.
    """
    path = Path(name_or_path) if "/" in name_or_path or "." in name_or_path else None
    path = path or config_dir / "fleets" / f"{name_or_path}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in (config_dir / "fleets").glob("*.yaml")))
        raise ConfigurationInvalid([f"{path}: there is no such fleet file; known fleets are: {names}"])
    parsed = read_document(path, _FleetFile).content
    slots = list(_slots(parsed.slots, on_cluster=on_cluster))
    if parsed.discover and on_cluster:
        raise ConfigurationInvalid([f"{path}: 'discover' looks at one machine; list the slots of the Ray cluster"])
    if parsed.discover:
        slots += await _discovered(parsed.region)
    if not slots:
        raise ConfigurationInvalid([f"{path}: a fleet needs at least one slot; list some, or set 'discover: true'"])
    return Fleet(name=path.stem, slots=tuple(slots))


def _slots(entries: Sequence[_SlotEntry], *, on_cluster: bool) -> Iterator[Slot]:
    """Each slot of the entries. The real devices of one machine are numbered in their order."""
    of_target = Counter[Target]()
    for device, entry in enumerate(each for each in entries for _ in range(each.count)):
        target = Target(entry.gpu_type, entry.region, entry.simulated)
        yield Slot(
            id=f"{entry.gpu_type}-{entry.region}-{of_target[target]}",
            target=target,
            device=entry.device_on_cluster if on_cluster else f"cuda:{device}" if not entry.simulated else "cpu",
            memory_gib=None if entry.simulated else entry.memory_gib,
            requirements=entry.requirements if on_cluster else Requirements(),
        )
        of_target[target] += 1


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
