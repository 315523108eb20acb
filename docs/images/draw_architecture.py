"""Write architecture.svg: what flows between the parts of rcn-search. Run it after a change; nothing else is needed."""

from __future__ import annotations

from html import escape
from pathlib import Path

COLUMNS, ROWS = (20, 275, 530, 785), (20, 150, 280)
BOX_WIDTH, BOX_HEIGHT = 180, 64
WIDTH, HEIGHT = 985, 364
BOXES = [
    # column, row, title, second line
    (0, 0, "published data", "MTFL, 300-W, AFW; or drawn"),
    (1, 0, "data set", "Arrow shards, manifest"),
    (0, 1, "study file", "search_spaces/*.yaml"),
    (1, 1, "study", "Optuna; JSON written once"),
    (2, 1, "trial", "PyTorch in a Ray Tune actor"),
    (3, 1, "predictor", "decoder, augmentation"),
    (3, 2, "evaluation", "protocols, intervals"),
    (2, 2, "leaderboard", "entries, test evaluations"),
    (1, 2, "tables and pages", "ranks as ranges"),
]
ARROWS = [
    # path of the line, label, its position
    ("M200,52 H271", "import", (236, 44)),
    ("M455,52 H620 V146", "memory-mapped images", (540, 44)),
    ("M200,182 H271", "check", (236, 174)),
    ("M455,170 H526", "setting", (491, 163)),
    ("M530,194 H459", "error", (493, 210)),
    ("M710,182 H781", "checkpoint", (746, 174)),
    ("M875,214 V276", "points", (900, 250)),
    ("M785,312 H714", "submit", (748, 304)),
    ("M530,312 H459", "rank", (493, 304)),
]
STYLE = """
svg { font: 14px system-ui, sans-serif; } .page { fill: #ffffff; } .box { fill: #e6f4f1; stroke: #00796b; }
.title { font-weight: 600; fill: #12302c; } .second { font-size: 12px; fill: #3d5a56; }
.arrow { stroke: #455a64; fill: none; } .label { font-size: 12px; fill: #37474f; } text { text-anchor: middle; }
"""


def box(column: int, row: int, title: str, second: str) -> str:
    """A box with two lines of text."""
    x, y = COLUMNS[column], ROWS[row]
    middle = x + BOX_WIDTH / 2
    return (
        f'<rect class="box" x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>'
        f'<text class="title" x="{middle}" y="{y + 28}">{escape(title)}</text>'
        f'<text class="second" x="{middle}" y="{y + 47}">{escape(second)}</text>'
    )


def arrow(path: str, label: str, position: tuple[int, int]) -> str:
    """A line with a head and its label."""
    x, y = position
    return f'<path class="arrow" d="{path}" marker-end="url(#head)"/><text class="label" x="{x}" y="{y}">{label}</text>'


def main() -> None:
    """Write the picture beside this file."""
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#455a64"/></marker>'
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Data sets and '
        'study files lead through trials to a predictor, its evaluation and the leaderboard">',
        f"<style>{STYLE}</style><defs>{head}</defs>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="12"/>',
        *(box(*each) for each in BOXES),
        *(arrow(*each) for each in ARROWS),
        "</svg>",
    ]
    (Path(__file__).parent / "architecture.svg").write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
