"""Tables about how the experiment was made: failures, recipe, folds, provenance."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from kitsbench.experiments.records import ExperimentRecord
from kitsbench.recipe import Recipe
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.tables import Table


def failures(analysis: Analysis) -> Table | None:
    """Every trial without a result, and every architecture that could not be loaded."""
    rows = []
    for trial in analysis.results.trials:
        if trial.state in ("finished", "spared"):  # those that looks spared have a table of theirs
            continue
        rows.append(
            [
                trial.name,
                str(trial.fold),
                str(trial.seed),
                trial.state,
                trial.status.reason or words.DASH,
                trial.status.message or words.DASH,
                trial.id,
            ]
        )
    for entrant in analysis.results.experiment.entrants:
        if entrant.status == "broken":
            dash, message = words.DASH, entrant.error or words.DASH
            rows.append([entrant.name, dash, dash, "not run", entrant.status, message, dash])
    if not rows:
        return None
    head = ["Architecture", "Fold", "Seed", "State", "Reason", "Message", "Trial"]
    return Table(head, rows, "", text_columns=7)


def recipes(analysis: Analysis) -> dict[str, Table]:
    """The shared recipe by its name, or each architecture's own by the entrant's."""
    experiment = analysis.results.experiment
    if experiment.recipe is not None:
        return {experiment.recipe.name: _recipe(experiment.recipe)}
    return {
        entrant.name: _recipe(entrant.recipe)
        for entrant in experiment.entrants
        if entrant.recipe is not None and not entrant.members
    }


def _recipe(recipe: Recipe) -> Table:
    """A recipe, key by key, and where its values come from."""
    content = recipe.to_dict()
    rows = [list(pair) for pair in _flat({k: v for k, v in content.items() if k != "sources"})]
    rows += [[f"source of {what}", str(where)] for what, where in content.get("sources") or []]
    return Table(["Setting", "Value"], rows, "Axis order z, y, x; lengths in mm.", text_columns=2)


def folds(analysis: Analysis) -> Table:
    """How many cases each fold tests, and which."""
    scores = analysis.results.scores
    rows = []
    for fold, part in scores.groupby("fold"):
        cases = sorted(set(part["case"]))
        rows.append([str(fold), str(len(cases)), words.listing(cases, most=12)])
    design = analysis.results.experiment.folds
    caption = (
        f"{words.plural(len(design.used), 'fold')} of {design.count} "
        f"used, {analysis.seeds_told} each; "
        f"split {design.split_id}, the same for all architectures."
    )
    return Table(["Fold", "Test cases", "Which"], rows, caption, text_columns=3)


def excluded(analysis: Analysis) -> Table | None:
    """Cases that were set aside, with the reason."""
    cases = analysis.results.experiment.dataset.excluded
    rows = [[case, reason] for case, reason in cases.items()]
    return Table(["Case", "Set aside because"], rows, "", text_columns=2) if rows else None


def architectures(analysis: Analysis) -> Table:
    """Where every architecture comes from."""
    rows = []
    everybody = {entrant.name: entrant for entrant in analysis.results.experiment.entrants}
    for entrant in everybody.values():
        # What an ensemble hands on is resolved by its members, in whose rows it stands.
        handed_on = {key for name in entrant.members if name in everybody
                     for key in everybody[name].config}  # fmt: skip
        config = ", ".join(
            f"{key}={_text(value)}" for key, value in entrant.config.items() if key not in handed_on
        )
        if handed_on:
            config = "; ".join(filter(None, [config, "all else: its members'"]))
        rows.append(
            [
                f"{entrant.name}\n{entrant.title}".rstrip("\n"),
                entrant.paper or words.DASH,
                f"{entrant.distribution or words.DASH} {entrant.version}".strip()
                + _packages(analysis, entrant.name),
                entrant.source_hash or words.DASH,
                config or "defaults",
                "; ".join(entrant.notes) or words.DASH,
            ]
        )
    head = ["Architecture", "Paper", "Distribution", "Source", "Configuration", "Notes"]
    return Table(head, rows, "Source: hash of the plugin's own source code.", text_columns=6)


def _packages(analysis: Analysis, name: str) -> str:
    """Versions of what an entrant's plugin is made from, in lines of their own."""
    found: dict[tuple[str, str], None] = {}
    for trial in analysis.results.trials:
        if trial.name == name and trial.record is not None:
            found |= dict.fromkeys(trial.record.identity.packages.items())
    return "".join(f"\n{package} {version}" for package, version in found)


def _repeated(analysis: Analysis) -> list[list[str]]:
    """The command of an experiment, and the same with every value that it left to defaults."""
    experiment = analysis.results.experiment
    command = experiment.command
    rows = [["To repeat the experiment", command or words.DASH]]
    try:
        given = shlex.split(command)
    except ValueError:  # a quote that nobody closed
        given = []
    options = {word.partition("=")[0] for word in given if word.startswith("--")}
    left = [pair for pair in [*_values(experiment), *_precision(analysis)]
            if pair[0] not in options]  # fmt: skip
    brought = [e.name for e in experiment.entrants if not e.asked]
    if given[:2] == ["kitsbench", "run"] and not options & _MORE_THAN_WORDS:
        asked = [e.name for e in experiment.entrants if e.asked]
        names = asked if "--all" in given else []
        kept = [word for word in given[2:] if word != "--all"]
        spelled = ["kitsbench", "run", *names, *kept, *(word for pair in left for word in pair)]
        rows.append(["The same, every value spelled out", shlex.join(spelled)])
    elif left:
        told = " ".join(word for pair in left for word in pair)
        rows.append(["Where its words left a value open", told])
    if brought:
        rows.append(["Trained with them, as members of ensembles", words.listing(brought, 100)])
    return rows


# What these ask for stands elsewhere: in a file, or in an experiment of before.
_MORE_THAN_WORDS = {"--config", "--experiment", "--add"}


def _values(experiment: ExperimentRecord) -> list[tuple[str, str]]:
    """Options of ``kitsbench run``, each with what it was in the experiment."""
    folds, recipe, dataset = experiment.folds, experiment.recipe, experiment.dataset
    networks = [e for e in experiment.entrants if not e.members and e.elsewhere is None]
    sizes = {entrant.size for entrant in networks}
    phantom = dataset.synthetic and dataset.name.startswith("phantom-small-")
    found = [
        ("--dataset", "phantom" if phantom else dataset.path),
        ("--recipe", experiment.recipe_mode),
        ("--budget", experiment.budget.text),
        ("--split", str(folds.count) if folds.count > 1 else ""),
        ("--folds", ",".join(map(str, folds.used))),
        ("--seeds", str(experiment.seeds)),
        # Several sizes come from settings, which stand in the names.
        ("--size", str(sizes.pop()) if len(sizes) == 1 and None not in sizes else ""),
        ("--protocol", experiment.protocol),
        ("--endpoint", experiment.endpoint),
    ]
    if recipe is not None:
        found += [
            ("--patch", ",".join(map(str, recipe.patch or ()))),
            ("--spacing", ",".join(f"{edge:g}" for edge in recipe.spacing)
             if isinstance(recipe.spacing, tuple) else ""),
            ("--batch", str(recipe.batch)),
        ]  # fmt: skip
    return [(word, value) for word, value in found if value]


def _precision(analysis: Analysis) -> list[tuple[str, str]]:
    """In what was computed, where all trials agree."""
    known = {record.identity.precision for record in analysis.results.records}
    return [("--precision", known.pop())] if len(known) == 1 else []


def provenance(analysis: Analysis) -> Table:
    """What would be needed to do it again."""
    experiment = analysis.results.experiment
    dataset, device = experiment.dataset, experiment.device
    kind = "synthetic" if dataset.synthetic else "scans"
    trained = words.listing(analysis.results.versions) or words.DASH
    repeat = (
        [["To repeat the experiment", "the commands of what it was joined from, below"]]
        if analysis.results.joined
        else _repeated(analysis)
    )
    rows = [
        *repeat,
        # Without the folder's own path: a report that is moved with its directory stays true.
        [
            "To rebuild this report, from the working directories below"
            if analysis.results.joined
            else "To rebuild this report, in its working directory",
            rebuild_command(analysis),
        ],
        ["Experiment", experiment.id],
        *_joined(analysis),
        ["Created", experiment.created],
        ["kitsbench", f"planned by {experiment.version}, trained by {trained}{_commits(analysis)}"],
        ["Dataset", f"{dataset.name} ({words.cases_used(dataset)}, {kind})"],
        ["Dataset note", dataset.note or words.DASH],
        ["Dataset fingerprint", dataset.fingerprint or words.DASH],
        ["Labels", _text(dataset.labels)],
        ["Protocol", experiment.protocol],
        ["Endpoint", experiment.endpoint],
        [
            "Margin",
            words.DASH if analysis.margin is None else f"{analysis.margin:g} ({_origin(analysis)})",
        ],
        ["Split", experiment.folds.split_id],
        ["Budget", experiment.budget.text],
        ["Device", f"{device.kind}, {device.name}, {words.plural(device.threads, 'thread')}"],
    ]
    return Table(["What", "Value"], rows, "", text_columns=2)


def rebuild_command(analysis: Analysis) -> str:
    """What makes this report again, in its working directory."""
    more = [] if analysis.narrowed is None else analysis.narrowed.asked.options()
    results = analysis.results
    if results.joined:  # no folder is named, so that a page that is moved stays true
        places = [f"WORKDIR_{number}" for number in range(1, len(results.joined) + 1)]
        return shlex.join(["kitsbench", "report", *places, *more])
    return shlex.join(["kitsbench", "report", ".", "--experiment", results.experiment.id, *more])


def _joined(analysis: Analysis) -> list[list[str]]:
    """What the results were put together from: each experiment with its own command."""
    return [
        [
            f"Joined from {one.id}",
            f"{one.created}, on {one.device.name}, {words.plural(len(one.trials), 'trial')}: "
            f"{one.command or words.DASH}",
        ]
        for one in analysis.results.joined
    ]


def _commits(analysis: Analysis) -> str:
    found = analysis.results.commits
    return f" (commit {words.listing(found)})" if found else ""


def _origin(analysis: Analysis) -> str:
    if analysis.narrowed is not None and analysis.narrowed.asked.margin is not None:
        return "as was asked for when this report was made"
    return "kitsbench's own for this endpoint"


def trial_means(analysis: Analysis) -> dict[tuple[str, int, int], float]:
    """Mean of the endpoint over the test cases of each trial, by architecture, fold and seed."""
    scores = analysis.results.scores
    if scores.empty:
        return {}
    own = scores[
        (scores["protocol"] == analysis.protocol)
        & (scores["region"] == analysis.region)
        & (scores["metric"] == analysis.metric)
    ]
    return dict(own.groupby(["architecture", "fold", "seed"])["value"].mean())


def trials(analysis: Analysis, ways: Mapping[str, str]) -> Table:
    """Every trial with its mean of the endpoint, and the way to its folder.

    Parameters
    ----------
    analysis : Analysis
    ways : mapping of str to str
        Addresses of the folders of trials, by their ids; what is not there leads nowhere.
    """
    means = trial_means(analysis)
    rows, links = [], {}
    for trial in analysis.results.trials:
        mean = means.get((trial.name, trial.fold, trial.seed))
        state = " ".join(filter(None, [trial.state, trial.status.reason]))
        place = [str(trial.fold), str(trial.seed), state]
        rows.append([trial.id, trial.name, *place, words.number(mean)])
        if trial.id in ways:
            links[trial.id] = ways[trial.id]
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    head = ["Trial", "Architecture", "Fold", "Seed", "State", f"Mean {endpoint}"]
    caption = (
        "The id of a trial is the name of its folder, trials/ID in the working directory, with its "
        "scores, ledger, curve and environment; the mean is that over its test cases that have a "
        "value."
    )
    return Table(head, rows, caption, text_columns=5, links=links)


def environments(analysis: Analysis) -> Table:
    """Versions and hardware of the trials; where they differ, every value that occurred."""
    values: dict[str, list[str]] = {}
    for trial in analysis.results.trials:
        if trial.environment is None:
            continue
        for key, value in _flat(trial.environment.plain()):
            known = values.setdefault(key, [])
            if value not in known:
                known.append(value)
    rows = [[key.removeprefix("packages."), " | ".join(known[:4])] for key, known in values.items()]
    return Table(["What", "Value"], rows, "", text_columns=2)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested data as pairs of a dotted key and a text."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{prefix}{key}.")
    elif isinstance(value, (list, tuple)) and value and all(isinstance(v, dict) for v in value):
        for number, part in enumerate(value):
            yield from _flat(part, f"{prefix}{number}.")
    elif prefix:
        yield prefix[:-1], _text(value)


def _text(value: Any) -> str:
    if value is None:
        return words.DASH
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items()) or words.DASH
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(part) for part in value) or words.DASH
    return f"{value:g}" if isinstance(value, float) else str(value)
