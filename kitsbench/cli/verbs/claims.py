"""``kitsbench claims``: what the papers claim, and what an experiment says about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kitsbench.cli.options import (
    WORKDIR,
    alpha_option,
    experiment_option,
    json_option,
    recipe_option,
    workdir_argument,
)
from kitsbench.cli.output import print_json, print_rich, say, tell
from kitsbench.cli.values import PATH
from kitsbench.text.screen import Column, make_table, words


@click.command(name="claims")
@workdir_argument(otherwise=None)
@recipe_option("How the networks of a score table were trained; a working directory knows.")
@click.option("--registry", type=PATH, help="Claims of your own, in a TOML file.")
@experiment_option
@alpha_option
@json_option
def command(
    workdir: Path | None,
    recipe: str | None,
    registry: Path | None,
    experiment: str | None,
    alpha: float,
    as_json: bool,
) -> None:
    """Hold the papers' claims against the experiment in WORKDIR (default: kitsbench-work).

    WORKDIR may also be a long score table (CSV or Parquet) whose architectures are named as on
    the command line. Each claim is replicated, contradicted, not settled (with the smallest gap
    that the design could detect) or not tested (with what is missing). Nothing is trained.
    """
    from kitsbench.claims import check_claims, read_registry

    rows = check_claims(read_registry(registry), _evidence(workdir, recipe, experiment), alpha)
    if as_json:
        print_json(rows)
        return
    _show(rows)


def _evidence(workdir: Path | None, recipe: str | None, experiment: str | None) -> Any:
    import pandas as pd

    from kitsbench.claims import Evidence, evidence_of_table, evidence_of_workdir
    from kitsbench.errors import UsageError
    from kitsbench.experiments.records import has_experiments

    if workdir is None and experiment is None and not has_experiments(WORKDIR):
        tell(f"There is no experiment in {WORKDIR}, so nothing is tested; these are the claims.")
        return Evidence(pd.DataFrame())
    workdir = workdir or WORKDIR
    if workdir.is_dir():
        if recipe is not None:
            raise UsageError(
                f"{workdir} is a working directory, which knows its recipe; --recipe is for "
                "score tables."
            )
        return evidence_of_workdir(workdir, experiment)
    if not workdir.exists():
        raise UsageError(
            f"There is no {workdir}; name the working directory of an experiment, or a long score "
            "table (CSV or Parquet)."
        )
    if experiment is not None:
        raise UsageError(f"{workdir} is a score table, which has no experiments to choose from.")
    return evidence_of_table(workdir, recipe or "")


def _show(rows: list[dict[str, Any]]) -> None:
    known = {(row["dataset"], row["mode"]) for row in rows if row["dataset"] or row["mode"]}
    title = "; ".join(f"dataset {data or '?'}, recipe {mode or '?'}" for data, mode in known)
    columns = [Column("claim", whole=True), Column("statement"), Column("paper's figure")]
    columns += [Column("verdict", whole=True)]
    styles = {"replicated": "green", "contradicted": "red", "not settled": "yellow"}
    shown = [
        (
            *(row[key] for key in ("id", "statement", "figure")),
            words(row["verdict"], styles.get(row["verdict"], "dim")),
        )
        for row in rows
    ]
    print_rich(make_table(columns, shown, title))
    for row in rows:
        lines = [row["reason"]] if row["reason"] else []
        if row["missing"]:
            lines.append("Missing: " + "; ".join(text.rstrip(".") for text in row["missing"]) + ".")
        if row["missing"]:
            lines += [step["sentence"] for step in row["steps"] if step["sentence"]]
        if row["verdict"] != "not tested" and row["caution"]:
            lines.append(row["caution"])
        for line in lines:
            say(line, row["id"])
