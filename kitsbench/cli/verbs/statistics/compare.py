"""``kitsbench compare``: statistics on any long score table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from kitsbench.cli.options import (
    alpha_option,
    declared_options,
    endpoint_option,
    experiment_option,
    futility_option,
    json_option,
    protocol_option,
    question_option,
    spending_option,
)
from kitsbench.cli.output import print_json, tell
from kitsbench.cli.values import PATH, LookOf, Number, Whole
from kitsbench.cli.verbs.statistics.looking import (
    Looking,
    as_looked,
    check_look,
    compare_and_record,
)
from kitsbench.metrics import METRICS, Metric

if TYPE_CHECKING:
    import pandas as pd

    from kitsbench.experiments.results import Results
    from kitsbench.statistics import Comparison


_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def _margins() -> str:
    return ", ".join(
        f"{metric.margin:g} for {metric.title} ({metric.margin_with_kidney:g} with the kidney)"
        for metric in METRICS.values()
        if metric.margin is not None
    )


@click.command(name="compare")
@click.argument("scores", nargs=-1, required=True, type=PATH)
@endpoint_option(
    f"The one endpoint that the verdicts are about; METRIC is one of {', '.join(METRICS)}, or "
    "another of the table that is declared."
)
@declared_options
@click.option(
    "--margin",
    type=Number(),
    help=f"Differences below it do not matter; by default {_margins()}.",
)
@alpha_option
@protocol_option("Scoring protocol, where the table holds several.")
@click.option("--dataset", help="Dataset, where the table holds several.")
@click.option("--baseline", metavar="ARCH", help="Compare with this architecture only.")
@click.option(
    "--correction",
    type=click.Choice(["holm", "hommel", "shaffer"]),
    default="holm",
    show_default=True,
    help="Correction for several pairs.",
)
@click.option(
    "--test",
    type=click.Choice(["auto", "wilcoxon", "permutation"]),
    default="auto",
    show_default=True,
    help="auto: the test with the widest scope. The others speak of the trained models (L0).",
)
@click.option("--demsar", is_flag=True, help="Mean ranks too: Friedman, Nemenyi (scope L0).")
@click.option("--rankings", is_flag=True, help="Print the ranking by other schemes too.")
@click.option(
    "--cases",
    type=PATH,
    metavar="TABLE|DATASET",
    help="Properties of the cases: a table with a column case, or a dataset to measure them on.",
)
@click.option(
    "--stratum",
    "strata",
    multiple=True,
    metavar="COLUMN[:CUT,...]",
    help="Compare within groups of cases too, such as tumor_volume_ml:10,100. Repeatable.",
)
@click.option(
    "--cluster",
    metavar="COLUMN",
    help="Column of SCORES or of --cases whose cases belong together: hospital, scanner.  "
    "[default: patient, where SCORES has it]",
)
@click.option(
    "--figures",
    type=PATH,
    metavar="DIR",
    help="Draw differences, ranks in the bootstrap and (--demsar) critical differences there.",
)
@click.option("--conservative", is_flag=True, help="Larger standard errors in the two-way test.")
@click.option(
    "--fold-count",
    type=Whole(),
    metavar="N",
    help="Folds of the whole cross-validation, if the table holds some only; 1 if it is none.",
)
@click.option(
    "--look",
    type=LookOf(),
    metavar="K/M",
    help="The scores so far are those after K of M planned rounds (a seed over all folds); "
    "verdicts hold over all looks in --spent.",
)
@click.option(
    "--spent",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Record of the looks so far (JSON); this one is added.",
)
@question_option
@spending_option
@futility_option
@click.option("--secondary", is_flag=True, help="Print the secondary (exploratory) endpoints too.")
@experiment_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    scores: tuple[Path, ...],
    endpoint: str,
    declared: dict[str, Metric],
    margin: float | None,
    alpha: float,
    protocol: str | None,
    dataset: str | None,
    baseline: str | None,
    correction: str,
    test: str,
    demsar: bool,
    rankings: bool,
    cases: Path | None,
    strata: tuple[str, ...],
    cluster: str | None,
    figures: Path | None,
    conservative: bool,
    fold_count: int | None,
    look: tuple[int, int] | None,
    spent: Path | None,
    question: str,
    spending: str,
    futility: float,
    secondary: bool,
    experiment: str | None,
    as_json: bool,
) -> None:
    """Compare architectures on long score tables (CSV or Parquet).

    SCORES have the columns architecture, fold, seed, case, region, metric, value and optionally
    status, protocol, dataset. All seeds of a fold test the same cases; a missing prediction is a
    row with the status failed. A working directory stands for the scores of its latest
    experiment, or of --experiment.
    """
    from kitsbench.errors import DataError, UsageError
    from kitsbench.statistics import Rule, compare, parse_endpoint
    from kitsbench.statistics.table.clusters import column_of_scores

    if cases is not None and not strata and cluster is None:
        raise UsageError(
            "A table of cases was given, but no stratum and no cluster; declare one with "
            "--stratum, such as --stratum tumor_volume_ml:10,100, or name a --cluster."
        )
    properties = None if cases is None else _cases(cases, strata)
    column = column_of_scores(cluster, properties)
    table, results = _scores(scores, experiment, declared, column)
    if results is not None:
        record = results.experiment
        protocol = protocol or record.protocol
        fold_count = record.folds.count if fold_count is None else fold_count
    given = {name for name in context.params if context.get_parameter_source(name) in _GIVEN}
    looked = results if results is not None and results.experiment.until is not None else None
    if looked is not None:
        endpoint, baseline = as_looked(looked, endpoint, baseline, margin, given)
    target = parse_endpoint(endpoint, declared)
    chosen: dict[str, Any] = {
        "protocol": protocol,
        "dataset": dataset,
        "demsar": demsar,
        "cases": properties,
        "strata": strata,
        "declared": declared,
        "cluster": cluster,
    }
    rule = Rule(
        alpha=alpha,
        conservative=conservative,
        fold_count=fold_count,
        test=test,
        correction=correction,
        baseline=baseline,
    )
    check_look(look, spent, given, test)
    try:
        if look is None or spent is None:
            comparison = compare(table, target, rule=rule, margins=margin, **chosen)
            if looked is not None:
                from kitsbench.experiments.compared import by_looks

                comparison = by_looks(looked.experiment, looked.looks, comparison, table)
        else:
            wanted = Looking(question, spending, futility)
            comparison = compare_and_record(
                table, target, look, spent, rule, margin, wanted, given, chosen
            )
    except DataError as error:
        # A rule that rows break together names none of the files that they came from.
        if any(str(file) in str(error) for file in (*scores, cases or "?", spent or "?")):
            raise
        raise DataError(f"{', '.join(map(str, scores[:3]))}: {error}") from error
    if figures is not None:
        _draw(comparison, figures)
    if as_json:
        print_json(comparison.to_dict())
        return
    from kitsbench.cli.views.comparison_view import show

    show(comparison, secondary, rankings)


def _scores(
    paths: tuple[Path, ...],
    experiment: str | None,
    declared: dict[str, Metric],
    cluster: str | None,
) -> tuple[pd.DataFrame, Results | None]:
    """Scores from tables, or from a working directory with all that it holds."""
    from kitsbench.errors import UsageError
    from kitsbench.statistics import read_scores, validate_scores

    folder = next((path for path in paths if path.is_dir()), None)
    if folder is None:
        if experiment is not None:
            raise UsageError(
                f"{paths[0]} is a score table, which has no experiments to choose from; "
                "--experiment is for a working directory."
            )
        return read_scores(paths, declared=declared, cluster=cluster), None
    if len(paths) > 1:
        raise UsageError(
            f"{folder} is a working directory, whose experiment is compared by itself; to put "
            "several together, name their tables (WORKDIR/report/scores.csv)."
        )
    from kitsbench.experiments.results import load_results

    results = load_results(folder, experiment)
    if results.experiment.until is not None and results.scores.empty:
        return results.marked, results  # what it waits for is said by its looks
    table = validate_scores(results.marked, declared=declared, cluster=cluster)
    return table, results


def _cases(path: Path, strata: tuple[str, ...]) -> pd.DataFrame:
    """Properties of the cases from a table, or measured on a dataset."""
    from kitsbench.statistics import read_cases

    if not path.is_dir():
        return read_cases(path)
    from kitsbench.cli.progress import counting
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.inspection.covariates import ENHANCEMENT, measure_cases

    wanted = any(text.partition(":")[0].strip() == ENHANCEMENT for text in strata)
    dataset = open_dataset(path, masks_only=not wanted)
    with counting("cases measured") as bar:
        return measure_cases(dataset, enhancement=wanted, progress=bar)


def _draw(comparison: Comparison, folder: Path) -> None:
    from kitsbench.reporting.drawing.rank_plots import write_figures

    for file in write_figures(comparison.to_dict(), folder):
        tell(f"wrote {file}")
