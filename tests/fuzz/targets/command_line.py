"""Commands run in this process, as in a terminal; what they may print and how they may end."""

from __future__ import annotations

import re

from typer.testing import CliRunner, Result

from rcn_search.errors import RcnSearchError
from tests.fuzz.oracle import Wrong

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def run_command(*line: object) -> Result:
    """Run a command; its output, or the error that it printed or died of."""
    from rcn_search.cli.main import app

    result = CliRunner().invoke(app, [*map(str, line)])
    if isinstance(result.exception, Exception):
        raise result.exception
    if found := CONTROL.search(result.output.replace("\r\n", "\n")):
        raise Wrong(f"a control character reaches the terminal: {found[0]!r}")
    if result.exit_code:
        _, mark, message = result.stderr.partition("error: ")
        if not mark:
            raise Wrong(f"exit code {result.exit_code} without an error: {result.output[:300]}")
        raise RcnSearchError(message)
    return result
