"""What all pages share: the head of a page, its style sheet with colors and type, and the scripts of several pages.

The leaderboard's site, the live page of a study and the demo extend ``templates/page.html``. Beside it lie the assets:
``page.css`` for every page, the rest for the site and the live page. No page loads anything from another host.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = Path(__file__).parent / "assets"


def asset_files(*folders: Path) -> Iterator[Path]:
    """Yield the style sheets, scripts and icons of folders, without their notes for readers of the code."""
    for folder in folders:
        yield from (path for path in sorted(folder.iterdir()) if path.suffix != ".md")


def page_environment(package: str) -> Environment:
    """Create an environment for the templates of a package, which may extend ``page.html``."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("rcn_search.pages")]),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
