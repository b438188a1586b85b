"""What ``kitsbench run`` says before it trains, and what it does and says at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import print_json, print_rich, say, tell

if TYPE_CHECKING:
    from kitsbench.experiments.accounts.clock import Clock
    from kitsbench.experiments.experiment import Experiment
    from kitsbench.experiments.records import ExperimentRecord
    from kitsbench.experiments.results import Results


def announce(experiment: Experiment) -> None:
    """Say what is going to happen, in a few lines that a newcomer understands."""
    from kitsbench.experiments.plan.changes import changes
    from kitsbench.experiments.trial.kept_scores import is_done

    names = [e.name for e in experiment.entrants if e.error is None]
    outside = {e.name: e.elsewhere for e in experiment.entrants if e.elsewhere is not None}
    finished = sum(is_done(task) for task in experiment.tasks)
    trained = sum(t.folder.read_status().status == "finished" for t in experiment.tasks)
    dataset = experiment.record.dataset
    aside = dataset.set_aside()
    lines = [
        f"Dataset: {dataset.name}, {dataset.n_cases} cases"
        + (" (synthetic)" if dataset.synthetic else "")
        + f", split into {len(experiment.split.folds)} folds.",
        *([aside] if aside else []),
        f"Architectures: {', '.join(names) or 'none that can take part'}.",
        *(f"{name}: {known.told()}; no budget." for name, known in outside.items()),
        f"Budget: {experiment.budget} of training a trial on "
        f"{experiment.record.device.name}; recipe {experiment.request.recipe}.",
        f"Trials: {_most(experiment)}{len(experiment.tasks)}, each architecture "
        f"{_on_folds(experiment)} with {_most(experiment)}{experiment.seeds} "
        f"seed{'s' * (experiment.seeds != 1)}; {finished} already finished"
        + (f", {trained - finished} trained and to be scored." if trained > finished else ".")
        if names
        else "Trials: none.",
        f"Working directory: {experiment.request.workdir}; experiment {experiment.record.id}.",
    ]
    if (until := experiment.record.until) is not None:
        from kitsbench.experiments.looks.design import told_early

        seeds = ", ".join(map(str, until.looks))
        early = told_early(until, len(experiment.record.folds.used))
        lines.insert(
            -1,
            f"Until decided: {until.told()}; a look after {seeds} seeds, and no more trials for "
            f"what is decided by then. {early}".rstrip(),
        )
        if late := begun_late(experiment):
            lines.insert(-1, late)
    if tuning := experiment.request.tuning:
        lines.insert(
            -1,
            f"Tuning before: {tuning.trials} settings for each of {len(names)} architectures in "
            f"each fold, over {', '.join(tuning.space)}.",
        )
    if not experiment.studies:  # a search decides what the trials are
        lines += changes(experiment.tasks, experiment.request.workdir)
    for line in lines:
        tell(line)
    for entrant in experiment.entrants:
        if entrant.error is not None:
            tell(entrant.error, f"{entrant.name} cannot take part", "red")


def begun_late(experiment: Experiment) -> str:
    """Say that trials have finished before the looks that this call declares; else empty."""
    from kitsbench.experiments.looks.design import told_known
    from kitsbench.experiments.records import LooksRecord

    record, workdir = experiment.record, experiment.request.workdir
    if record.until is None or LooksRecord.find(workdir, record.id) is not None:
        return ""
    ended = [task.folder.read_status().status == "finished" for task in experiment.tasks]
    return told_known(sum(ended))


def _most(experiment: Experiment) -> str:
    return "" if experiment.record.until is None else "at most "


def _on_folds(experiment: Experiment) -> str:
    used, count = experiment.folds, len(experiment.split.folds)
    if len(used) == count:
        return f"on all {count} folds"
    return f"on fold{'s' * (len(used) != 1)} {', '.join(map(str, used))} of {count}"


def conclude(experiment: Experiment, as_json: bool, clock: Clock) -> int:
    """Profile, compare, report; print the table or the JSON, and choose the exit code.

    Parameters
    ----------
    experiment : Experiment
    as_json : bool
    clock : Clock
        That of the call, whose account is written down and told.
    """
    from kitsbench.cli.profiles import AFTER_RUN, profile_entrants
    from kitsbench.cli.progress import counting, working
    from kitsbench.experiments.case_sizes import keep_case_sizes
    from kitsbench.experiments.records import make_latest
    from kitsbench.experiments.results import read_results
    from kitsbench.reporting.accounting import as_plain, told
    from kitsbench.reporting.kept_report import report_of
    from kitsbench.reporting.link import lead_to
    from kitsbench.reporting.terminal import terminal_table

    workdir = experiment.request.workdir
    kept: list[object] = []

    def account() -> None:
        kept.append(clock.keep(workdir, experiment.record.id))

    with working("Measuring speed and memory ..."), clock.spend("profile"):
        profile_entrants(experiment, AFTER_RUN)
    with counting("cases measured") as bar, clock.spend("report"):
        keep_case_sizes(workdir, experiment.dataset, bar)
    with working("Writing the report ..."), clock.spend("report"):
        # By this run's own plan: another run may have planned something else here meanwhile.
        results = read_results(workdir, experiment.record)
        report, analysis = report_of(results, account)
        make_latest(workdir, experiment.record.id)
        moved = lead_to(workdir, experiment.record.id)
    if moved:
        tell(moved)
    if not kept:  # the report lay there as it would be written
        account()
    failed = [t for t in results.trials if t.state == "failed"]
    broken = [e for e in experiment.entrants if e.error is not None]
    if as_json:
        print_json(
            {
                "workdir": str(workdir),
                "dataset": dataset_content(results.experiment),
                "experiment": experiment.record.id,
                "report": str(report),
                "trials": [
                    {
                        "id": t.id,
                        "architecture": t.name,
                        "fold": t.fold,
                        "seed": t.seed,
                        "status": t.state,
                        "reason": t.status.reason,
                        "message": t.spared or t.status.message,
                        "ledger": t.ledger.plain() if t.ledger else {},
                    }
                    for t in results.trials
                ],
                "broken": [{"architecture": e.name, "error": e.error} for e in broken],
                "ranking": analysis.ranking,
                **elsewhere_content(results.experiment),
                "tuning": _tuning(results.experiment),
                **looks_content(results),
                "accounting": as_plain(clock.call()),
            }
        )
    else:
        print_rich(terminal_table(results, report=report, analysis=analysis))
        if (call := clock.call()).trials:
            say("")
            for line in told(call):
                say(line)
    return 1 if failed or broken else 0


def dataset_content(experiment: ExperimentRecord) -> dict[str, Any]:
    """What was trained on and tested, and what was not."""
    return experiment.dataset.model_dump(
        mode="json", include={"name", "labels", "n_cases", "excluded", "note"}
    )


def elsewhere_content(experiment: ExperimentRecord) -> dict[str, Any]:
    """What is known of who was trained elsewhere; without a key where nobody was."""
    known = {e.name: e.elsewhere for e in experiment.entrants if e.elsewhere is not None}
    content = {
        name: {**one.model_dump(mode="json"), "apart": one.apart} for name, one in known.items()
    }
    return {"elsewhere": content} if content else {}


def looks_content(results: Results) -> dict[str, Any]:
    """The looks of a run that stops by itself; without a key of a fixed design."""
    from kitsbench.reporting.first_screen.looked import plain

    found = plain(results)
    return {} if found is None else {"looks": found}


def _tuning(experiment: ExperimentRecord) -> dict[str, Any] | None:
    """What the search for settings did, under the words that tables use."""
    if experiment.tuning is None:
        return None
    content = experiment.tuning.model_dump(mode="json")
    studies = [{"architecture": study.pop("name"), **study} for study in content["studies"]]
    return {**content, "studies": studies}
