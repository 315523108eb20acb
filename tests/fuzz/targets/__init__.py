"""Every parser that a stranger's file reaches, with the valid files from which mutations start."""

from __future__ import annotations

from tests.fuzz.oracle import Target
from tests.fuzz.targets import configurations, datasets, external, importers, leaderboards, requests, runs, studies

AREAS = (configurations, datasets, external, importers, leaderboards, requests, runs, studies)
TARGETS: dict[str, Target] = {target.name: target for area in AREAS for target in area.TARGETS}
