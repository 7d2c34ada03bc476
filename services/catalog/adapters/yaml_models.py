"""The models of `config/models/*.yaml`: what a file looks like, and how it becomes a model."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from services.catalog import domain
from services.catalog.adapters import json_schema, yaml_work
from services.catalog.adapters.yaml_work import WorkShape
from services.chassis.strict_yaml import ConfigurationInvalid, Document, StrictShape, read_document

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
Words = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Url = Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Modality = Literal["text", "image", "audio", "video"]
LARGEST_INT32 = 2**31 - 1  # as wide as the contract's field


class LicenseShape(StrictShape):
    """`license` of a model."""

    id: Words
    url: Url


class LinkShape(StrictShape):
    """One of `links`."""

    kind: Literal["weights", "paper", "code", "license", "pipeline"]
    title: Words
    url: Url


class FigureShape(StrictShape):
    """A row of `published_figures`."""

    gpu_type: Words
    region: Words | None = None
    status: Literal["works", "not probed"]
    model_ms: int | None = Field(default=None, gt=0)
    cold_start_ms: int | None = Field(default=None, gt=0)
    vram_gb: float | None = Field(default=None, gt=0)
    sample_count: int | None = Field(default=None, gt=0)

    @property
    def is_measured(self) -> bool:
        """Whether the row has any figure."""
        return any(value is not None for value in (self.model_ms, self.cold_start_ms, self.vram_gb, self.sample_count))


class FigureTableShape(StrictShape):
    """One table of `published_figures`."""

    source: Words
    rows: list[FigureShape] = Field(min_length=1)


class VersionShape(WorkShape):
    """One of `versions`."""

    version: Name
    title: Words
    pipeline: Words
    weights_repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    weights_revision: Commit
    weights_dtype: Literal["fp16", "bf16", "fp32"]
    parameters_billions: float | None = Field(default=None, gt=0)
    context_window_tokens: int | None = Field(default=None, gt=0)
    vram_floor_gib: float = Field(gt=0)
    vram_floor_source: Literal["configured", "measured"]
    max_run_seconds: int = Field(default=3600, gt=0, le=LARGEST_INT32)
    published_figures: list[FigureTableShape] = Field(default=[])
    input_schema: dict[str, Any]
    example: dict[str, Any]


class ModelShape(StrictShape):
    """A whole file."""

    slug: Name
    title: Words
    description: Words
    license: LicenseShape
    category: Words
    runtime_kind: Words
    input_modalities: list[Modality] = Field(min_length=1)
    output_modalities: list[Modality] = Field(min_length=1)
    tags: list[Name] = Field(min_length=1)
    date_added: date
    links: list[LinkShape] = Field(default=[])
    versions: list[VersionShape] = Field(min_length=1)


def load_models(directory: Path) -> tuple[domain.Model, ...]:
    """Every model of a directory, or ConfigurationInvalid with the faults of all files."""
    models: list[domain.Model] = []
    faults: list[str] = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            models.append(_load(path))
        except ConfigurationInvalid as error:
            faults.extend(error.faults)
    if not models and not faults:
        faults.append(f"{directory}: holds no *.yaml file")
    if faults:
        raise ConfigurationInvalid(faults)
    return tuple(models)


def faults_of(path: Path) -> tuple[str, ...]:
    """What is wrong with one file."""
    try:
        _load(path)
    except ConfigurationInvalid as error:
        return error.faults
    return ()


def _load(path: Path) -> domain.Model:
    document = read_document(path, ModelShape)
    faults = list(_faults(document))
    if faults:
        raise ConfigurationInvalid(faults)
    return _to_domain(document.content)


def _faults(document: Document[ModelShape]) -> Iterator[str]:
    """What the shape alone does not forbid."""
    model = document.content
    if model.slug != document.path.stem:
        yield document.fault(["slug"], f"the file must be named {model.slug}.yaml")
    for name, values in (
        ("tags", model.tags),
        ("input_modalities", model.input_modalities),
        ("output_modalities", model.output_modalities),
        ("versions", [version.version for version in model.versions]),
    ):
        for index, value in enumerate(values):
            if value in values[:index]:
                yield document.fault([name, index], f"'{value}' is given twice")
    for index, version in enumerate(model.versions):
        for location, message in _version_faults(model.slug, version):
            yield document.fault(["versions", index, *location], message)


def _version_faults(slug: str, version: VersionShape) -> Iterator[tuple[list[str | int], str]]:
    for table_index, table in enumerate(version.published_figures):
        seen: set[tuple[str, str | None]] = set()
        for row_index, row in enumerate(table.rows):
            location: list[str | int] = ["published_figures", table_index, "rows", row_index]
            if (row.gpu_type, row.region) in seen:
                yield location, "the target is given twice"
            seen.add((row.gpu_type, row.region))
            if row.status == "not probed" and row.is_measured:
                yield [*location, "status"], "a row that was not probed has no figures"
    schema_faults = list(json_schema.faults(version.input_schema))
    for location, message in schema_faults:
        yield ["input_schema", *location], message
    example_faults = [] if schema_faults else list(json_schema.example_faults(version.input_schema, version.example))
    for location, message in example_faults:
        yield ["example", *location], message
    if not schema_faults and not example_faults:
        for location, message in yaml_work.faults(version, version.input_schema, version.example):
            yield location, message
    for field, value in (("model", slug), ("model_version", version.version)):
        if version.example.get(field) != value:
            yield ["example", field], f"must be '{value}'"


def _to_domain(shape: ModelShape) -> domain.Model:
    return domain.Model(
        slug=shape.slug,
        title=shape.title,
        description=shape.description,
        license=domain.License(shape.license.id, shape.license.url),
        category=shape.category,
        runtime_kind=shape.runtime_kind,
        input_modalities=tuple(shape.input_modalities),
        output_modalities=tuple(shape.output_modalities),
        tags=tuple(shape.tags),
        date_added=shape.date_added,
        links=tuple(domain.Link(link.kind, link.title, link.url) for link in shape.links),
        versions=tuple(_version_to_domain(version) for version in shape.versions),
    )


def _version_to_domain(shape: VersionShape) -> domain.ModelVersion:
    return domain.ModelVersion(
        version=shape.version,
        title=shape.title,
        pipeline=shape.pipeline,
        weights_repository=shape.weights_repository,
        weights_revision=shape.weights_revision,
        weights_dtype=shape.weights_dtype,
        parameters_billions=shape.parameters_billions,
        context_window_tokens=shape.context_window_tokens,
        vram_floor_gib=shape.vram_floor_gib,
        vram_floor_source=shape.vram_floor_source,
        max_run_seconds=shape.max_run_seconds,
        published_figures=tuple(
            domain.PublishedFigure(
                gpu_type=row.gpu_type,
                region=row.region,
                status=row.status,
                model_ms=row.model_ms,
                cold_start_ms=row.cold_start_ms,
                vram_gb=row.vram_gb,
                sample_count=row.sample_count,
                source=table.source,
            )
            for table in shape.published_figures
            for row in table.rows
        ),
        inputs=domain.InputSchema(shape.input_schema, shape.example),
        work=yaml_work.work_of(shape, shape.input_schema, shape.example),
        probe_inputs=tuple(shape.probe_inputs),
    )
