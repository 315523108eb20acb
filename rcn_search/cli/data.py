"""Commands ``rcn-search data …``: import, generate, inspect and verify data sets."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from rcn_search.cli.console import command, console, progress
from rcn_search.cli.import_data import Destination, import_command, run_import

data_app = typer.Typer(no_args_is_help=True, help="Import, generate, inspect and verify data sets.")
data_app.command("import")(import_command)

Uri = Annotated[str, typer.Argument(metavar="DATA", help="Data set: a folder or an s3:// URI.")]
_MAX_PRINTED = 10  # problems of shards; the others are counted


@data_app.command()
@command
def generate(
    destination: Destination,
    keypoints: Annotated[str, typer.Option(help="Keypoint schema: five or ibug68.")] = "five",
    train: Annotated[int, typer.Option(min=1, help="Number of training faces.")] = 4000,
    val: Annotated[int, typer.Option(min=1, help="Number of validation faces.")] = 500,
    test: Annotated[int, typer.Option(min=1, help="Number of test faces.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same faces.")] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a range of the faces, as in yaw_deg=45, light=1.5."),
    ] = None,
) -> None:
    """Generate a data set of drawn faces, which need no license and no download.

    Example: rcn-search data generate data/synthetic --train 2000
    """
    from rcn_search.config.drawing import DrawingConfig
    from rcn_search.config.loading import load_options
    from rcn_search.data.importers.synthetic import SyntheticImporter

    ranges = load_options(DrawingConfig, overrides or ())
    importer = SyntheticImporter(
        schema=keypoints, num_train=train, num_val=val, num_test=test, seed=seed, ranges=ranges
    )
    run_import(importer, destination, strict=False)


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
    """Compare every shard of a data set with its hash and the manifest; the exit code is 1 if one is damaged.

    Names shards that are missing or differ in bytes, rows, columns or image size, and faces that occur twice, or have a
    point that is not finite or a box without area.

    Example: rcn-search data verify s3://faces/mtfl
    """
    from rcn_search.data.shards import DatasetError, read_manifest
    from rcn_search.data.verification import dataset_problems

    manifest = read_manifest(uri)
    shards = [shard for members in manifest.splits.values() for shard in members]
    with progress("verifying", "shards") as on_shard:
        problems = dataset_problems(uri, manifest, on_shard=on_shard)
    if problems:
        more = [f"… and {len(problems) - _MAX_PRINTED:,} more"] if len(problems) > _MAX_PRINTED else []
        lines = [f"{uri} is damaged, {len(problems):,} problems in {len(shards):,} shards:", *problems[:_MAX_PRINTED]]
        raise DatasetError("\n".join([*lines, *more]))
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
