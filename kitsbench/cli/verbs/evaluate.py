"""``kitsbench evaluate``: score a folder of label maps by an official protocol."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kitsbench.cli.options import (
    jobs_option,
    json_option,
    out_option,
    protocol_option,
    split_option,
)
from kitsbench.cli.output import print_json, tell
from kitsbench.cli.values import PATH, WIDEST_SEED, Whole
from kitsbench.errors import DataError, UsageError
from kitsbench.files import digest, write_atomic, write_json, write_text
from kitsbench.files.foreign import names_or_file
from kitsbench.metrics import METRICS
from kitsbench.text import csv_table, one_line

if TYPE_CHECKING:
    from kitsbench.evaluation import Evaluation


@click.command("evaluate")
@click.argument("predictions", type=PATH)
@click.argument("truth", type=PATH)
@protocol_option(
    "Scoring rule: kits19, kits21, kits23; `labels` scores kidney, tumor and cyst each by itself, "
    "`all` applies every rule to the same predictions.",
    required=True,
)
@out_option(
    "Write every score to this .csv or .parquet file, or the whole document to a .json "
    "file; may be given more than once.",
    multiple=True,
    folder=False,
)
@json_option
@click.option(
    "--missing",
    type=click.Choice(["background"]),
    help="Count a case without a prediction as all background. Otherwise it is an error.",
)
@click.option(
    "--metrics",
    metavar="NAME,...",
    help=f"Instead of the protocol's own: {', '.join(METRICS)}.",
)
@click.option(
    "--reference",
    type=click.Choice(["majority", "samples"]),
    help="What kits21 scores against: the majority mask, or sampled annotations as the organisers "
    "did. Default: the samples where all cases have them.",
)
@click.option(
    "--cases", metavar="ID,...|FILE", help="Score these cases only: names, or a file with them."
)
@jobs_option("Processes. Default: by cores and memory.", default=None)
@click.option("--architecture", help="Value for the column `architecture` of the output.")
@click.option("--fold", type=Whole(0), help="Value for the column `fold` of the output.")
@click.option(
    "--seed", type=Whole(0, WIDEST_SEED), help="Value for the column `seed` of the output."
)
@click.option("--dataset", help="Value for the column `dataset` of the output.")
@split_option(
    "Split that says in which fold each case was tested, such as nnU-Net's splits_final.json; "
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
    out: tuple[Path, ...],
    as_json: bool,
    missing: str | None,
    metrics: str | None,
    reference: str | None,
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
    labelsTr/<case>.nii.gz (nnU-Net); capitals, the coding of accents and what tools add, such as
    the number of a channel, do not matter. A prediction must have the shape and affine of its
    truth.

    A wrong shape, affine or name stops everything before it starts. A damaged file or a value
    that is no label fails its own case: the other scores are written, and the exit code is 2.

    Killed or interrupted, the same command goes on where it stopped.

    With --architecture, --fold and --seed the written table is what `kitsbench compare` reads.
    The folder of an nnU-Net training brings its folds: fold_<k>/validation are scored together.

    Cases that the model is known to have trained on, in whichever year's KiTS, are refused.
    """
    from kitsbench.cli.evaluation_cases import TestedFolds, find_leaks, meant
    from kitsbench.cli.views.evaluation_tables import print_evaluations
    from kitsbench.evaluation import evaluate_protocols, get_protocols, side_by_side
    from kitsbench.evaluation.label_files import find_label_maps
    from kitsbench.evaluation.pool import NO_MEMORY
    from kitsbench.evaluation.protocols import ALL

    for path in out:
        if path.suffix not in (".csv", ".parquet", ".json"):
            raise UsageError(
                f"Cannot write {path}: scores are written to .csv, .parquet or .json files."
            )
    protocols = get_protocols(protocol)
    known = list(find_label_maps(truth, predictions=False))
    folds = TestedFolds(predictions, known, fold, split)
    chosen = folds.tested if cases is None else meant(_case_names(cases), known)
    leaked = find_leaks(
        predictions, truth, known if chosen is None else chosen, trained_on, allow_training_cases
    )
    partial = _partial_file(out, predictions, truth, protocol, metrics)
    with _scoring(partial) as progress:
        evaluations = evaluate_protocols(
            predictions,
            truth,
            protocols,
            missing=missing,
            jobs=jobs,
            progress=progress,
            metrics=None if metrics is None else _split(metrics),
            cases=chosen,
            reference=reference,
            partial=partial,
        )
    if leaked:
        evaluations[0].notes.append(
            f"The model was trained on {len(leaked)} of these cases: {', '.join(leaked)}. Their "
            "scores say nothing about new patients."
        )
    document = evaluations[0].to_dict() if protocol != ALL else side_by_side(evaluations)
    if leaked:
        document["trained_on"] = leaked
    scored = [row["case"] for evaluation in evaluations for row in evaluation.rows]
    stamp = {"dataset": dataset, "architecture": architecture, "fold": folds.column(scored)}
    stamp |= {"seed": seed, "trained_on": [case in leaked for case in scored] if leaked else None}
    stamp = {key: value for key, value in stamp.items() if value is not None}
    for path in out:
        _write(evaluations, document, path, stamp)
    if as_json:
        print_json(document)
    else:
        print_evaluations(evaluations)
    unfinished = any(problem.reason == NO_MEMORY for problem in evaluations[0].problems)
    if partial is not None and not unfinished:
        partial.unlink(missing_ok=True)
    _report(evaluations)


def _partial_file(
    out: tuple[Path, ...], predictions: Path, truth: Path, protocol: str, metrics: str | None
) -> Path | None:
    """Where to keep the cases done so far: beside the output, or with what users cache.

    None where there is no output and nothing can be cached either.
    """
    if out:
        return out[0].with_name(out[0].name + ".partial")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = digest([str(predictions.resolve()), str(truth.resolve()), protocol, metrics])
    folder = cache / "kitsbench" / "evaluate"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder / f"{name}.partial" if os.access(folder, os.W_OK) else None


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def _case_names(text: str) -> list[str]:
    try:
        return _split(names_or_file(text))
    except (OSError, ValueError) as error:
        why = "is no text in UTF-8" if isinstance(error, UnicodeError) else "cannot be read"
        raise UsageError(f"{text} {why} ({error}). Give a file of names.") from error


def _write(
    evaluations: list[Evaluation], document: dict[str, Any], path: Path, stamp: dict[str, Any]
) -> None:
    if path.suffix == ".json":
        write_json(path, document)
        tell(f"Wrote {len(document['cases'])} scores to {path}")
        return
    import pandas as pd

    frame = pd.concat([evaluation.frame for evaluation in evaluations], ignore_index=True)
    for position, (column, value) in enumerate(stamp.items()):
        frame.insert(position, column, value)
    if path.suffix == ".csv":
        write_text(path, csv_table(frame))
    else:
        write_atomic(path, lambda temporary: frame.to_parquet(temporary, index=False))
    tell(f"Wrote {len(frame)} scores to {path}")


def _report(evaluations: list[Evaluation]) -> None:
    """Say on stderr what a reader must know; a case that could not be scored is an error."""
    first = evaluations[0]
    if first.missing:
        names = ", ".join(first.missing)
        tell(f"scored as background, for want of a prediction: {names}", "Note")
    if first.extra:
        names = ", ".join(first.extra)
        tell(f"predictions without a truth, not scored: {names}", "Note")
    for note in dict.fromkeys(note for evaluation in evaluations for note in evaluation.notes):
        tell(note, "Note")
    if first.problems:
        lines = [f"{one_line(p.case)}: {p.reason.rstrip('.')}." for p in first.problems]
        cases = {row["case"] for row in first.rows} | {p.case for p in first.problems}
        rule = (
            f"of {len(cases)} cases could not be scored properly. A damaged prediction counts as "
            "failed (Dice 0), a damaged truth is left out; the other scores hold."
        )
        raise DataError("\n".join([f"{len(lines)} {rule}", *lines]))


@contextlib.contextmanager
def _scoring(partial: Path | None) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar meanwhile, and say what is kept if it is interrupted."""
    from kitsbench.cli.progress import counting

    reached = (0, 0)

    def show(done: int, total: int, case: str) -> None:
        nonlocal reached
        reached = done, total
        bar(done, total)

    try:
        with counting("Scoring cases") as bar:
            yield show
    except KeyboardInterrupt:
        done, total = reached
        if done and partial is not None:
            tell(
                f"{done} of {total} cases are kept in {partial}; the same command goes on from "
                "there."
            )
        raise
