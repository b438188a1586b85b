"""``kitsbench data``: make, check, prepare and describe datasets.

In: folders, rules, names of datasets. Out: datasets and stores on disk, and what ails them.
"""

from __future__ import annotations

import click

from kitsbench.cli.help import Verbs
from kitsbench.cli.verbs.data.exchange import export, split
from kitsbench.cli.verbs.data.preparing import info, prepare, verify
from kitsbench.cli.verbs.data.sources import fetch, phantom


@click.group("data", cls=Verbs)
def command() -> None:
    """Make, check, prepare and describe datasets."""


for verb in (phantom, fetch, verify, prepare, info, split, export):
    command.add_command(verb)
