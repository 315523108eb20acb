"""``rcn-search data …``: import, draw, inspect and verify data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rcn_search import storage
from rcn_search.cli.console import command, console, progress
from rcn_search.cluster.ray_job import check_outlives_job

if TYPE_CHECKING:
    from rcn_search.data.importers.base import Importer, ImportSummary

data_app = typer.Typer(no_args_is_help=True, help="Data sets: import, draw, inspect, verify.")

Uri = Annotated[str, typer.Argument(help="Data set: a folder or an s3:// URI.")]
_SHOWN_REFUSALS = 20


@data_app.command("import")
@command
def import_(
    format: Annotated[str, typer.Argument(help="Published format: mtfl, 300w, afw, afw-68.")],
    source: Annotated[Path, typer.Argument(help="The published folder, unzipped.")],
    destination: Annotated[str, typer.Argument(help="Where the shards go: an empty folder or s3:// URI.")],
    colour: Annotated[bool, typer.Option("--colour", help="Keep red, green and blue; grey otherwise.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be imported.")] = False,
) -> None:
    """Turn a published data set into Arrow shards.

    mtfl: training.txt, testing.txt and images. 300w: afw, helen, lfpw, ibug, as far as there. afw: anno.mat and images
    (needs the extra "matlab"). afw-68: five points from the folder afw of 300-W.

    Example: rcn-search data import mtfl ~/Downloads/MTFL data/mtfl
    """
    from rcn_search.data.importers import IMPORTERS

    if format not in IMPORTERS:
        raise ValueError(f"unknown format {format!r}; known: {', '.join(IMPORTERS)}")
    _import(IMPORTERS[format](source, colour=colour), destination, strict=strict)


@data_app.command()
@command
def synth(
    destination: Annotated[str, typer.Argument(help="Where the shards go: an empty folder or s3:// URI.")],
    keypoints: Annotated[str, typer.Option(help="five or ibug68.")] = "five",
    train: Annotated[int, typer.Option(min=1, help="Faces to train on.")] = 4000,
    val: Annotated[int, typer.Option(min=1, help="Faces to validate on.")] = 500,
    test: Annotated[int, typer.Option(min=1, help="Faces to test on.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds, other faces.")] = 0,
) -> None:
    """Draw procedural faces that belong to nobody.

    Example: rcn-search data synth data/synthetic --train 2000
    """
    from rcn_search.data.importers.synthetic import SyntheticImporter

    importer = SyntheticImporter(schema=keypoints, num_train=train, num_val=val, num_test=test, seed=seed)
    _import(importer, destination, strict=False)


def _import(importer: Importer, destination: str, *, strict: bool) -> None:
    from rcn_search.data.importers.base import import_dataset

    check_outlives_job(destination, "DESTINATION")
    with progress(f"importing {importer.name}", "faces") as on_rows:
        summary = import_dataset(importer, destination, strict=strict, on_rows=on_rows)
    _print_summary(summary, destination)


def _print_summary(summary: ImportSummary, destination: str) -> None:
    manifest = summary.manifest
    splits = ", ".join(f"{split} {manifest.num_rows(split):,}" for split in manifest.split_names)
    for note in manifest.notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    if summary.elapsed_s is None:
        console.print(
            f"{destination} holds this data set already: {splits} (fingerprint {manifest.fingerprint})", soft_wrap=True
        )
        return
    for refusal in manifest.refused[:_SHOWN_REFUSALS]:
        console.print(f"refused {refusal.row}: {refusal.reason}", style="yellow", markup=False, soft_wrap=True)
    if len(manifest.refused) > _SHOWN_REFUSALS:
        more = len(manifest.refused) - _SHOWN_REFUSALS
        console.print(f"… and {more:,} more, all in {destination}/manifest.json", soft_wrap=True)
    num_imported = summary.num_rows - len(manifest.refused)
    console.print(
        f"{summary.num_rows:,} rows: {num_imported:,} imported ({splits}), {len(manifest.refused):,} refused; "
        f"{summary.elapsed_s:.1f} s, {summary.num_rows / summary.elapsed_s:,.0f} images/s; "
        f"fingerprint {manifest.fingerprint}",
        soft_wrap=True,
    )


@data_app.command()
@command
def info(uri: Uri) -> None:
    """What a data set holds and where it came from.

    Example: rcn-search data info data/mtfl
    """
    from rcn_search.data.shards import read_manifest

    manifest = read_manifest(uri)
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "name": manifest.name,
        "keypoints": f"{manifest.keypoints} ({manifest.keypoint_schema.num_points})",
        "attributes": ", ".join(manifest.attributes) or "none",
        "images": "colour" if manifest.channels == 3 else "grey",
        "source": manifest.source,
        "licence": manifest.license,
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
        uses += ["test: every look is counted"] if name in manifest.test_splits else []
        splits.add_row(name, f"{manifest.num_rows(name):,}", str(len(shards)), f"{size_mb:,.1f}", "; ".join(uses))
    console.print(splits)


@data_app.command()
@command
def verify(uri: Uri) -> None:
    """Read every shard and compare it with its hash; exit code 1 if one is damaged.

    Example: rcn-search data verify s3://faces/mtfl
    """
    from rcn_search.data.shards import DatasetError, read_manifest, shard_damage

    manifest = read_manifest(uri)
    shards = [shard for members in manifest.splits.values() for shard in members]
    damaged = []
    with progress("verifying", "shards") as on_shard:
        for done, shard in enumerate(shards, start=1):
            damage = shard_damage(uri, shard)
            if damage:
                damaged.append(f"{storage.join(uri, shard.file)}: {damage}")
            on_shard(done, len(shards))
    if damaged:
        raise DatasetError(f"{len(damaged)} of {len(shards)} shards damaged:\n" + "\n".join(damaged))
    console.print(f"{len(shards)} shards, {sum(shard.rows for shard in shards):,} rows: all whole")


@data_app.command()
@command
def show(
    uri: Uri,
    out: Annotated[str, typer.Option(help="Where it goes: .png, .svg or .pdf.")] = "grid.png",
    split: Annotated[str, typer.Option(help="Which split; the first one by default.")] = "",
    count: Annotated[int, typer.Option(min=1, max=400, help="How many faces.")] = 25,
    seed: Annotated[int, typer.Option(min=0, help="Which faces.")] = 0,
) -> None:
    """Draw a grid of faces with their points, to look at.

    Mind the licence of the data: the picture shows its faces.

    Example: rcn-search data show data/synthetic --split val --count 16 --out faces.png
    """
    import numpy as np
    import torch

    from rcn_search.data.dataset import open_dataset
    from rcn_search.evaluation.figures.faces import draw_faces

    dataset = open_dataset(uri)
    name = split or next(iter(dataset.manifest.splits))
    rows_of_split = dataset.split(name)
    count = min(count, rows_of_split.num_rows)
    rows = np.sort(np.random.default_rng(seed).choice(rows_of_split.num_rows, count, replace=False))
    picked = torch.from_numpy(rows)
    draw_faces(
        rows_of_split.images_at(picked).numpy(),
        rows_of_split.points_nk2[picked].numpy(),
        None,
        out,
        dataset.manifest.keypoint_schema,
        captions=[str(row) for row in rows],
    )
    console.print(f"{count} faces of {name} in {out}", soft_wrap=True)
