"""``python -m rcn_search.tune STUDY.yaml``: the line that ``ray job submit --`` is given."""

import typer

from rcn_search.cli.console import prepare_output
from rcn_search.cli.tune import tune_command

if __name__ == "__main__":
    prepare_output()
    typer.run(tune_command)
