"""Commands ``rcn-search schema …``: check, draw, write and list keypoint schemas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from rcn_search.cli.console import command, console, print_text, warn
from rcn_search.errors import RcnSearchError

if TYPE_CHECKING:
    from rcn_search.keypoints import KeypointSchema

schema_app = typer.Typer(no_args_is_help=True, help="Check, draw, write and list keypoint schemas.")

File = Annotated[str, typer.Argument(metavar="FILE", help="schema.yaml, or the name of a built-in schema.")]


@schema_app.command()
@command
def check(
    file: File, out: Annotated[str, typer.Option(metavar="FILE", help="Picture to write: .png, .svg or .pdf.")] = ""
) -> None:
    """Check a schema and show it: points, flip, edges, normalizers.

    An error says where the file is wrong: flip pairs that do not match, names that no point has, normalizers of no
    length.

    Example: rcn-search schema check schema.yaml --out schema.png
    """
    from rcn_search.config.keypoint_schema import load_schema
    from rcn_search.evaluation.figures.style import check_format

    if out:
        check_format(out)
    schema = load_schema(file)
    _print_schema(schema)
    for problem in doubts(schema):
        warn(problem)
    print_text(f"{schema.name}: {schema.num_points} points; names, flip, edges and normalizers are sound")
    if out:
        from rcn_search.evaluation.figures.schema_drawing import draw_schema

        draw_schema(schema, out)
        print_text(f"→ {out}")


@schema_app.command()
@command
def new(
    from_coco: Annotated[str, typer.Option(metavar="FILE", help="COCO file whose categories name keypoints.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write. Default: print it.")] = None,
    category: Annotated[str, typer.Option(help="Category, if several have keypoints.")] = "",
) -> None:
    """Write a schema from the categories of a COCO file: points, edges, and flip pairs as their names suggest.

    Example: rcn-search schema new --from-coco annotations.json --out schema.yaml
    """
    from rcn_search.data.importers.points.coco_schema import schema_of_coco, schema_text

    text = schema_text(schema_of_coco(Path(from_coco), category))
    if out is None:
        print_text(text.rstrip("\n"))
        return
    try:
        with out.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise RcnSearchError(f"{out} exists already; name another file") from None
    print_text(f"→ {out}; check the flip pairs and name a normalizer, then: rcn-search schema check {out}")


@schema_app.command("list")
@command
def list_schemas() -> None:
    """List the built-in schemas.

    Example: rcn-search schema list
    """
    from rcn_search.keypoints import SCHEMAS

    table = Table("schema", "points", "flip pairs", "normalizers", box=None, pad_edge=False)
    for schema in SCHEMAS.values():
        num_pairs = sum(k < other for k, other in enumerate(schema.flip))
        names = ", ".join(schema.normalizer_names)
        table.add_row(schema.name, str(schema.num_points), str(num_pairs), names)
    console.print(table)


@schema_app.command()
@command
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a built-in schema.")]) -> None:
    """Print the file of a built-in schema, from which one of your own can be made.

    Example: rcn-search schema show ibug68
    """
    from rcn_search.keypoints import keypoint_schema, schema_file

    print_text(schema_file(keypoint_schema(name).name).rstrip("\n"))


def doubts(schema: KeypointSchema) -> list[str]:
    """List what is allowed and yet unusual: sides that a flip keeps, lengths that it changes."""
    names = schema.names
    problems = []
    sided = [name for k, name in enumerate(names) if schema.flip[k] == k and has_side(name)]
    if sided:
        problems.append(f"named for a side, but a flip keeps it: {', '.join(sided[:8])}")
    for name, ends in schema.normalizers.items():
        flipped = {frozenset(schema.flip[k] for k in end) for end in ends}
        if flipped != {frozenset(end) for end in ends}:
            problems.append(f"the normalizer {name} has another length in a flipped image")
    return problems


def has_side(name: str) -> bool:
    """Whether the name of a point speaks of left or right."""
    from rcn_search.data.importers.points.coco_schema import other_side

    return other_side(name) != name


def _print_schema(schema: KeypointSchema) -> None:
    table = Table("no.", "point", "flip", "edges to", box=None, pad_edge=False)
    for k, name in enumerate(schema.names):
        near = dict.fromkeys(point for edge in schema.edges for point in _neighbors(edge, k))
        other = "" if schema.flip[k] == k else schema.names[schema.flip[k]]
        table.add_row(str(k + 1), Text(name), Text(other), Text(", ".join(schema.names[point] for point in near)))
    console.print(table)
    for part, points in schema.parts.items():
        print_text(f"part {part}: {', '.join(schema.names[k] for k in points)}")
    for normalizer, ends in schema.normalizers.items():
        first, second = (" + ".join(schema.names[k] for k in end) for end in ends)
        default = " (default)" if normalizer == schema.default_normalizer else ""
        print_text(f"normalizer {normalizer}{default}: {first} to {second}")
    default = "" if schema.normalizers else " (default: box)"
    print_text(f"normalizers box and diagonal: of the tightest box around the points{default}")
    box = schema.box
    print_text(f"box: {box.rule}, face box x {box.input_ratio:g}, stored crop x {box.crop_ratio:g}")


def _neighbors(edge: tuple[int, ...], k: int) -> list[int]:
    return [
        other
        for place, point in enumerate(edge)
        if point == k
        for other in (*edge[max(0, place - 1) : place], *edge[place + 1 : place + 2])
    ]
