"""``kitsbench evaluate``: score a folder of label maps by an official protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kitsbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from kitsbench.evaluation import Evaluation


@click.command("evaluate")
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option(
    "--protocol",
    required=True,
    metavar="kits19|kits21|kits23|labels",
    help="Scoring rule. `labels` scores kidney, tumor and cyst each by itself.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Write every score to this .csv or .parquet file; may be given twice.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--missing",
    type=click.Choice(["background"]),
    help="Count a case without a prediction as all background. Otherwise it is an error.",
)
@click.option(
    "--metrics",
    metavar="NAME,...",
    help="Instead of the protocol's own: dice, precision, recall, surface_dice, hd95_mm, "
    "assd_mm, volume_error_ml.",
)
@click.option(
    "--cases", metavar="ID,...|FILE", help="Score these cases only: names, or a file with them."
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes. Default: the cores, up to 8.")
@click.option("--architecture", help="Value for the column `architecture` of the output.")
@click.option("--fold", type=int, help="Value for the column `fold` of the output.")
@click.option("--seed", type=int, help="Value for the column `seed` of the output.")
@click.option("--dataset", help="Value for the column `dataset` of the output.")
@click.option(
    "--split",
    metavar="FILE.json|RULE",
    help="Split that says in which fold each case was tested, such as nnU-Net's splits_final.json; "
    "fills the column `fold`, and only its test cases are scored.",
)
@click.option(
    "--trained-on",
    metavar="kits19|kits21|kits23|ID,...|FILE",
    help="What the model behind PREDICTIONS was trained on, where kitsbench cannot know it.",
)
@click.option(
    "--allow-training-cases",
    is_flag=True,
    help="Score cases that the model was trained on, and mark them in every output.",
)
def command(
    predictions: Path,
    truth: Path,
    protocol: str,
    output: tuple[Path, ...],
    as_json: bool,
    missing: str | None,
    metrics: str | None,
    cases: str | None,
    jobs: int | None,
    architecture: str | None,
    fold: int | None,
    seed: int | None,
    dataset: str | None,
    split: str | None,
    trained_on: str | None,
    allow_training_cases: bool,
) -> None:
    """Score label maps in PREDICTIONS against those in TRUTH, whoever made them.

    Files belong together by case: <case>.nii.gz, <case>/segmentation.nii.gz (KiTS) or
    labelsTr/<case>.nii.gz (nnU-Net). A prediction must have the shape and affine of its truth.

    A wrong shape, affine or name stops everything before it starts. A damaged file or a value
    that is no label fails its own case: the other scores are written, and the exit code is 2.

    With --architecture, --fold and --seed the written table is what `kitsbench compare` reads.
    The folder of an nnU-Net training brings its folds: fold_<k>/validation are scored together.

    Cases that the model is known to have trained on, in whichever year's KiTS, are refused.
    """
    from kitsbench.evaluation.folders import default_jobs, evaluate
    from kitsbench.evaluation.label_files import find_label_maps

    for path in output:
        if path.suffix not in (".csv", ".parquet"):
            raise UsageError(f"Cannot write {path}: scores are written to .csv or .parquet files.")
    chosen = None if cases is None else _case_names(cases)
    known = list(find_label_maps(truth, predictions=False))
    folds = _Folds(predictions, known, fold, split)
    chosen = folds.tested if chosen is None else chosen
    leaked = _leaks(predictions, truth, known if chosen is None else chosen, trained_on)
    if leaked and not allow_training_cases:
        from kitsbench.data.leaks import refuse_leak

        raise refuse_leak(leaked, len(known if chosen is None else chosen))
    with _Progress() as progress:
        evaluation = evaluate(
            predictions,
            truth,
            protocol,
            missing=missing,
            jobs=jobs or default_jobs(),
            progress=progress,
            metrics=None if metrics is None else _split(metrics),
            cases=chosen,
        )
    scored = [row["case"] for row in evaluation.rows]
    stamp = {"dataset": dataset, "architecture": architecture, "fold": folds.column(scored)}
    stamp |= {"seed": seed, "trained_on": [case in leaked for case in scored] if leaked else None}
    for path in output:
        _write(evaluation, path, {key: value for key, value in stamp.items() if value is not None})
    if leaked:
        evaluation.notes.append(
            f"The model was trained on {len(leaked)} of these cases: {', '.join(leaked)}. Their "
            "scores say nothing about new patients."
        )
    if as_json:
        document = evaluation.to_dict() | ({"trained_on": leaked} if leaked else {})
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        _print_tables(evaluation)
    _report(evaluation)


class _Folds:
    """In which fold each case was tested: one for all, by a split, or by nnU-Net's folders."""

    def __init__(self, predictions: Path, cases: list[str], fold: int | None, split: str | None):
        self.fold, self.split, self.name = fold, None, split
        self.folders: dict[str, int] = {}
        if split is not None:
            from kitsbench.data.splits import choose_rule

            self.split = choose_rule(split, cases)
        elif fold is None:
            from kitsbench.evaluation.label_files import folds_of, match_cases

            # Names are matched as the evaluation does it, whatever prefix the files have.
            found = folds_of(predictions)
            paths = {name: Path(str(number)) for name, number in found.items()}
            matched, _ = match_cases(paths, dict.fromkeys(cases, predictions))
            self.folders = {case: int(path.name) for case, path in matched.items()}

    @property
    def tested(self) -> list[str] | None:
        """The cases that the split tests; None for all."""
        if self.split is None:
            return None
        one = self.fold
        chosen = range(len(self.split.folds)) if one is None else [one]
        return sorted(case for number in chosen for case in self.split.test(number))

    def column(self, cases: list[str]) -> list[int] | int | None:
        """Fold of each row, or None where nothing is known."""
        if self.fold is not None:
            return self.fold
        if self.split is None and not self.folders:
            return None
        own = {
            case: self.split.fold_of(case) if self.split else self.folders.get(case)
            for case in set(cases)
        }
        lost = sorted(case for case, number in own.items() if number is None)
        if lost:
            raise DataError(
                f"It is not known in which fold {', '.join(lost[:5])} was tested. Give the split "
                "(--split splits_final.json), or leave these cases out (--cases)."
            )
        return [int(own[case] or 0) for case in cases]


def _leaks(predictions: Path, truth: Path, cases: list[str], trained_on: str | None) -> list[str]:
    """Cases that the model behind the predictions was trained on, as far as that is known."""
    from kitsbench.data.leaks import known_patients, leaked_cases, recorded_leaks

    leaked = recorded_leaks(predictions, truth, cases)
    if trained_on is not None:
        leaked = sorted({*leaked, *leaked_cases(cases, known_patients(trained_on))})
    return leaked


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def _case_names(text: str) -> list[str]:
    path = Path(text)
    return _split(path.read_text(encoding="utf-8") if path.is_file() else text)


def _write(evaluation: Evaluation, path: Path, stamp: dict[str, Any]) -> None:
    from kitsbench.files import write_atomic

    frame = evaluation.frame
    for position, (column, value) in enumerate(stamp.items()):
        frame.insert(position, column, value)
    if path.suffix == ".csv":
        write_atomic(path, lambda temporary: frame.to_csv(temporary, index=False))
    else:
        write_atomic(path, lambda temporary: frame.to_parquet(temporary, index=False))
    click.echo(f"Wrote {len(frame)} scores to {path}", err=True)


def _report(evaluation: Evaluation) -> None:
    """Say on stderr what a reader must know; a case that could not be scored is an error."""
    if evaluation.missing:
        names = ", ".join(evaluation.missing)
        click.echo(f"Note: scored as background, for want of a prediction: {names}", err=True)
    if evaluation.extra:
        names = ", ".join(evaluation.extra)
        click.echo(f"Note: predictions without a truth, not scored: {names}", err=True)
    for note in evaluation.notes:
        click.echo(f"Note: {note}", err=True)
    if evaluation.problems:
        lines = [f"{problem.case}: {problem.reason}" for problem in evaluation.problems]
        cases = {row["case"] for row in evaluation.rows} | {p.case for p in evaluation.problems}
        rule = (
            f"of {len(cases)} cases could not be scored properly. A damaged prediction counts as "
            "failed (Dice 0), a damaged truth is left out; the other scores hold."
        )
        raise DataError("\n".join([f"{len(lines)} {rule}", *lines]))


def _print_tables(evaluation: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    n_cases = len({row["case"] for row in evaluation.rows})
    console.print(f"{evaluation.protocol.title}; {n_cases} cases scored", soft_wrap=True)
    table = Table()
    for column in ("region", "metric"):
        table.add_column(column, no_wrap=True)
    for column in ("mean", "SD", "cases"):
        table.add_column(column, justify="right", no_wrap=True)
    shown = None
    for row in evaluation.summary:
        digits = 2 if row["metric"].endswith(("_mm", "_ml")) else 4
        numbers = (row["mean"], row["std"])
        cells = ("" if value is None else f"{value:.{digits}f}" for value in numbers)
        region = "" if row["region"] == shown else row["region"]
        shown = row["region"]
        table.add_row(region, row["metric"], *cells, str(row["n"]))
    console.print(table)
    for metric, value in evaluation.headline.items():
        if value is not None:
            console.print(f"Mean over the regions: {metric} {value:.4f}", soft_wrap=True)
    for row in evaluation.detection:
        if row["n_absent"] or row["n_found"] < row["n_present"]:
            console.print(_detection_line(row), soft_wrap=True)


def _detection_line(row: dict[str, Any]) -> str:
    line = f"{row['region']}: predicted in {row['n_found']} of {row['n_present']} cases with it"
    if row["n_absent"]:
        line += f", in {row['n_false_positive']} of {row['n_absent']} without"
    if row["n_failed"]:
        line += f"; {row['n_failed']} failed"
    return line


class _Progress:
    """A bar on stderr, shown only on a terminal."""

    def __enter__(self) -> _Progress:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("Scoring", total=None)
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int, case: str) -> None:
        self._bar.update(self._task, completed=done, total=total, description=case)
