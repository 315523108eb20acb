"""Command ``rcn-search data import``: published data sets, and photographs and points of one's own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rcn_search.cli.console import command, console, progress
from rcn_search.cluster.ray_job import check_outlives_job

if TYPE_CHECKING:
    from rcn_search.data.importers.base import Importer

POINTS = "points"
Destination = Annotated[
    str, typer.Argument(metavar="DATA", help="Where to write the data set: an empty folder or s3:// URI.")
]
_PANEL = "Own points (FORMAT points)"
_MAX_PRINTED = 10  # refused rows; the others are counted


class LayoutName(StrEnum):
    """Names of `rcn_search.data.importers.points.layouts.LAYOUTS`."""

    csv = "csv"
    coco = "coco"
    pts = "pts"
    labelme = "labelme"


class Exif(StrEnum):
    """What is done with the EXIF orientation of photographs."""

    apply = "apply"
    ignore = "ignore"


class Boxes(StrEnum):
    """What frames the faces."""

    file = "file"
    points = "points"


def _own(help: str, **options: Any) -> Any:
    """Declare an option of the format points."""
    return typer.Option(help=help, rich_help_panel=_PANEL, **options)


Format = Annotated[
    str,
    typer.Argument(
        metavar="FORMAT",
        help="points (your own), mtfl, 300w, 300w-private, wflw, cofw, cofw-68, afw, afw-68, or one of "
        "another package.",
    ),
]
Source = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="Folder with the published files, unzipped; or your annotations.")
]
Color = Annotated[bool, typer.Option("--color", help="Keep red, green and blue. Default: gray.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be imported.")]
SchemaFile = Annotated[str, _own("schema.yaml, or a built-in schema.", metavar="FILE")]
Images = Annotated[Path | None, _own("Folder of the images. Default: SOURCE.", metavar="DIR")]
ValShare = Annotated[
    float | None,
    _own("Share of the images, or groups, for validation. Default: as the annotations say, else 0.1.", min=0, max=1),
]
TestShare = Annotated[
    float | None,
    _own("Share for the test split. Default: as the annotations say; 0.1 if they say nothing.", min=0, max=1),
]
ExifOption = Annotated[
    Exif | None,
    _own(
        "Turn photographs by their EXIF orientation, as the tool did. Default: apply for labelme and coco, ignore for "
        "csv and pts."
    ),
]
PixelOffset = Annotated[
    float | None, _own("Added to each x and y, so that pixel i covers i to i + 1. Default: -0.5 for pts, else 0.")
]
CropPx = Annotated[int | None, _own("Side of stored crops. Default: 160.", min=40, max=512)]


@command
def import_command(
    format: Format,
    source: Source,
    destination: Destination,
    color: Color = False,
    strict: Strict = False,
    schema: SchemaFile = "",
    layout: Annotated[LayoutName | None, _own("How the annotations are written.")] = None,
    images: Images = None,
    val: ValShare = None,
    test: TestShare = None,
    exif: ExifOption = None,
    boxes: Annotated[Boxes, _own("Frame faces by their boxes, if they have any, or by points.")] = Boxes.file,
    pixel_offset: PixelOffset = None,
    crop_px: CropPx = None,
    name: Annotated[str, _own("Name of the data set. Default: that of the schema.")] = "",
    license: Annotated[str, _own("What the license of the images permits.")] = "",
) -> None:
    """Import a data set into Arrow shards: your own photographs and points, or a published one.

    points: a table, a COCO file, LabelMe or .pts files, described by --schema and --layout. mtfl: training.txt,
    testing.txt and the images. 300w: the folders afw, helen, lfpw and ibug; any of them may be missing. afw: anno.mat
    and the images (needs the extra "matlab"). afw-68: the folder afw of 300-W, from whose 68 points five are derived.
    wflw: WFLW_annotations and WFLW_images. 300w-private: 01_Indoor and 02_Outdoor. cofw: COFW_train_color.mat and
    COFW_test_color.mat; cofw-68: the latter and COFW68_Data (both need the extra "matlab").

    Rows that cannot be imported are printed with the reason and listed in the manifest.

    Example: rcn-search data import points labels data/mine --schema schema.yaml --layout coco --images photos
    """
    from rcn_search.data.importers import find_importer
    from rcn_search.data.shards import DatasetError

    own = {
        "schema": schema,
        "layout": layout and layout.value,
        "images": images,
        "val": val,
        "test": test,
        "exif": None if exif is None else exif is Exif.apply,
        "boxes": "" if boxes is Boxes.file else boxes.value,
        "pixel_offset": pixel_offset,
        "crop_px": crop_px,
        "name": name,
        "license": license,
    }
    given = {key: value for key, value in own.items() if value not in (None, "")}
    if format == POINTS:
        importer = _points_importer(source, given, color=color)
    elif given:
        raise DatasetError(f"--{next(iter(given)).replace('_', '-')} is an option of points, not of {format}")
    else:
        importer = find_importer(format)(source, color=color)
    run_import(importer, destination, strict=strict)


def _points_importer(source: Path, options: dict[str, Any], *, color: bool) -> Importer:
    from rcn_search.config.keypoint_schema import load_schema
    from rcn_search.data.importers.points.importer import PointsImporter, PointsOptions
    from rcn_search.data.importers.points.layouts import looks_like
    from rcn_search.data.shards import DatasetError

    if "schema" not in options:
        raise DatasetError("the format points needs --schema; 'rcn-search schema new' writes one")
    if "layout" not in options:
        guess = looks_like(source) if source.exists() else None
        hint = f"; {source} looks like {guess}" if guess else ""
        raise DatasetError(f"the format points needs --layout: csv, coco, pts or labelme{hint}")
    schema = load_schema(options.pop("schema"))
    return PointsImporter(source, schema, PointsOptions(**options), color=color)


def run_import(importer: Importer, destination: str, *, strict: bool) -> None:
    """Import, and print what became of each row."""
    from rcn_search.data.importing import import_dataset

    check_outlives_job(destination, "DESTINATION")
    with progress(f"importing {importer.name}", "faces") as on_rows:
        summary = import_dataset(importer, destination, strict=strict, on_rows=on_rows)
    manifest = summary.manifest
    splits = ", ".join(f"{split} {manifest.num_rows(split):,}" for split in manifest.split_names)
    for note in manifest.notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    if summary.elapsed_s is None:
        console.print(
            f"{destination} already holds this data set: {splits} (fingerprint {manifest.fingerprint})", soft_wrap=True
        )
        return
    for refusal in manifest.refused[:_MAX_PRINTED]:
        console.print(f"refused {refusal.row}: {refusal.reason}", style="yellow", markup=False, soft_wrap=True)
    if (more := len(manifest.refused) - _MAX_PRINTED) > 0:
        console.print(f"… and {more:,} more; all are listed in {destination}/manifest.json", soft_wrap=True)
    num_imported = summary.num_rows - len(manifest.refused)
    console.print(
        f"{summary.num_rows:,} rows: {num_imported:,} imported ({splits}), {len(manifest.refused):,} refused;\n"
        f"{summary.elapsed_s:.1f} s, {summary.num_rows / summary.elapsed_s:,.0f} images/s; "
        f"fingerprint {manifest.fingerprint}",
        soft_wrap=True,
    )
