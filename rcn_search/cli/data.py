"""Commands ``rcn-search data …``: import, generate, inspect and verify data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rcn_search import storage
from rcn_search.cli.console import command, console, progress
from rcn_search.cluster.ray_job import check_outlives_job

if TYPE_CHECKING:
    from rcn_search.data.importers.base import Importer

data_app = typer.Typer(no_args_is_help=True, help="Import, generate, inspect and verify data sets.")

Uri = Annotated[str, typer.Argument(metavar="DATA", help="Data set: a folder or an s3:// URI.")]
Destination = Annotated[str, typer.Argument(help="Where to write the data set: an empty folder or s3:// URI.")]
_MAX_PRINTED_REFUSALS = 20


@data_app.command("import")
@command
def import_(
    format: Annotated[str, typer.Argument(help="Format of the source: mtfl, 300w, afw or afw-68.")],
    source: Annotated[Path, typer.Argument(help="Folder with the published files, unzipped.")],
    destination: Destination,
    color: Annotated[bool, typer.Option("--color", help="Keep red, green and blue. Default: gray.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be imported.")] = False,
) -> None:
    """Import a published data set into Arrow shards.

    mtfl: training.txt, testing.txt and the images. 300w: the folders afw, helen, lfpw and ibug; any of them may be
    missing. afw: anno.mat and the images (needs the extra "matlab"). afw-68: the folder afw of 300-W, from whose 68
    points five are derived.

    Rows that cannot be imported are printed with the reason and listed in the manifest.

    Example: rcn-search data import mtfl ~/Downloads/MTFL data/mtfl
    """
    from rcn_search.data.importers import IMPORTERS
    from rcn_search.data.shards import DatasetError

    if format not in IMPORTERS:
        raise DatasetError(f"unknown format {format!r}; known: {', '.join(IMPORTERS)}")
    _import(IMPORTERS[format](source, color=color), destination, strict=strict)


@data_app.command()
@command
def generate(
    destination: Destination,
    keypoints: Annotated[str, typer.Option(help="Keypoint schema: five or ibug68.")] = "five",
    train: Annotated[int, typer.Option(min=1, help="Number of training faces.")] = 4000,
    val: Annotated[int, typer.Option(min=1, help="Number of validation faces.")] = 500,
    test: Annotated[int, typer.Option(min=1, help="Number of test faces.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same faces.")] = 0,
) -> None:
    """Generate a data set of synthetic faces, which need no license and no download.

    Example: rcn-search data generate data/synthetic --train 2000
    """
    from rcn_search.data.importers.synthetic import SyntheticImporter

    importer = SyntheticImporter(schema=keypoints, num_train=train, num_val=val, num_test=test, seed=seed)
    _import(importer, destination, strict=False)


def _import(importer: Importer, destination: str, *, strict: bool) -> None:
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
    for refusal in manifest.refused[:_MAX_PRINTED_REFUSALS]:
        console.print(f"refused {refusal.row}: {refusal.reason}", style="yellow", markup=False, soft_wrap=True)
    if len(manifest.refused) > _MAX_PRINTED_REFUSALS:
        more = len(manifest.refused) - _MAX_PRINTED_REFUSALS
        console.print(f"… and {more:,} more; all are listed in {destination}/manifest.json", soft_wrap=True)
    num_imported = summary.num_rows - len(manifest.refused)
    console.print(
        f"{summary.num_rows:,} rows: {num_imported:,} imported ({splits}), {len(manifest.refused):,} refused;\n"
        f"{summary.elapsed_s:.1f} s, {summary.num_rows / summary.elapsed_s:,.0f} images/s; "
        f"fingerprint {manifest.fingerprint}",
        soft_wrap=True,
    )


@data_app.command()
@command
def info(uri: Uri) -> None:
    """Show the splits, source and license of a data set.

    Example: rcn-search data info data/mtfl
    """
    from rcn_search.data.shards import read_manifest

    manifest = read_manifest(uri)
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "name": manifest.name,
        "keypoints": f"{manifest.keypoints} ({manifest.keypoint_schema.num_points})",
        "attributes": ", ".join(manifest.attributes) or "none",
        "images": "color" if manifest.channels == 3 else "gray",
        "source": manifest.source,
        "license": manifest.license,
        "citation": manifest.citation,
        "fingerprint": manifest.fingerprint,
        "refused rows": f"{len(manifest.refused):,}",
        "notes": "\n".join(manifest.notes) or "none",
    }
    for name, value in rows.items():
        table.add_row(name, value, style="")
    console.print(table)
    splits = Table("split", "rows", "shards", "MB", "use", box=None, pad_edge=False)
    for name in manifest.split_names:
        members = manifest.members_of(name)
        shards = [shard for member in members for shard in manifest.splits[member]]
        size_mb = sum(shard.bytes for shard in shards) / 1e6
        uses = [" + ".join(members)] if name in manifest.unions else []
        uses += ["test split: every evaluation is counted"] if name in manifest.test_splits else []
        splits.add_row(name, f"{manifest.num_rows(name):,}", str(len(shards)), f"{size_mb:,.1f}", "; ".join(uses))
    console.print(splits)


@data_app.command()
@command
def verify(uri: Uri) -> None:
    """Compare every shard of a data set with its hash; the exit code is 1 if one is damaged.

    Example: rcn-search data verify s3://faces/mtfl
    """
    from rcn_search.data.shards import DatasetError, read_manifest, shard_damage

    manifest = read_manifest(uri)
    shards = [shard for members in manifest.splits.values() for shard in members]
    damaged = []
    with progress("verifying", "shards") as on_shard:
        for done, shard in enumerate(shards, start=1):
            if damage := shard_damage(uri, shard):
                damaged.append(f"{storage.join(uri, shard.file)}: {damage}")
            on_shard(done, len(shards))
    if damaged:
        raise DatasetError(f"{len(damaged)} of {len(shards)} shards damaged:\n" + "\n".join(damaged))
    console.print(f"{len(shards)} shards, {sum(shard.rows for shard in shards):,} rows: all intact")


@data_app.command()
@command
def show(
    uri: Uri,
    out: Annotated[str, typer.Option(metavar="FILE", help="Picture to write: .png, .svg or .pdf.")] = "grid.png",
    split: Annotated[str, typer.Option(help="Split to show. Default: the first one.")] = "",
    count: Annotated[int, typer.Option(min=1, max=400, help="Number of faces.")] = 25,
    seed: Annotated[int, typer.Option(min=0, help="Random seed that chooses the faces.")] = 0,
) -> None:
    """Draw a grid of faces with their points.

    The picture shows faces of the data set, so its license applies.

    Example: rcn-search data show data/synthetic --split val --count 16 --out faces.png
    """
    import numpy as np
    import torch

    from rcn_search.data.dataset import open_dataset
    from rcn_search.evaluation.figures.faces import draw_faces

    dataset = open_dataset(uri)
    split_name = split or next(iter(dataset.manifest.splits))
    faces = dataset.split(split_name)
    count = min(count, faces.num_rows)
    rows = np.sort(np.random.default_rng(seed).choice(faces.num_rows, count, replace=False))
    draw_faces(
        faces.images_at(torch.from_numpy(rows)).numpy(),
        faces.points_nk2[rows].numpy(),
        None,
        out,
        dataset.manifest.keypoint_schema,
        captions=[str(row) for row in rows],
    )
    console.print(f"{count} faces of {split_name} → {out}", soft_wrap=True)
