"""Tables about how the experiment was made: failures, recipe, folds, provenance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.tables import Table


def failures(analysis: Analysis) -> Table | None:
    """Every trial without a result, and every architecture that could not be loaded."""
    rows = []
    waiting = [trial for trial in analysis.results.trials if trial.fold < 0]
    for trial in analysis.results.trials:
        if trial.state == "finished" or trial in waiting:
            continue
        status = trial.status
        rows.append(
            [
                trial.architecture,
                str(trial.fold) if trial.fold >= 0 else words.DASH,
                str(trial.seed) if trial.seed >= 0 else words.DASH,
                trial.state,
                str(status.get("reason") or words.DASH),
                str(status.get("message") or words.DASH),
                str(status.get("stage") or words.DASH),
                trial.id,
            ]
        )
    for entry in analysis.results.experiment.get("architectures", []):
        if entry.get("status", "ok") != "ok":
            reason, message = str(entry["status"]), str(entry.get("error") or words.DASH)
            dash = words.DASH
            rows.append([str(entry["label"]), dash, dash, "not run", reason, message, dash, dash])
    if waiting:
        count = words.plural(len(waiting), "trial")
        rows.append([f"({count})", *[words.DASH] * 2, "pending", *[words.DASH] * 4])
    if not rows:
        return None
    head = ["Architecture", "Fold", "Seed", "State", "Reason", "Message", "Stage", "Trial"]
    return Table(head, rows, "", text_columns=8)


def recipes(analysis: Analysis) -> dict[str, Table]:
    """The shared recipe by its name, or each architecture's own by the architecture's label."""
    experiment = analysis.results.experiment
    own = {
        str(entry["label"]): _recipe(entry["recipe"])
        for entry in experiment.get("architectures", [])
        if entry.get("recipe") and not entry.get("members")
    }
    shared = experiment.get("recipe", {})
    return own or {str(shared.get("name") or "unnamed"): _recipe(shared)}


def _recipe(content: dict[str, Any]) -> Table:
    """A recipe, key by key, and where its values come from."""
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
    used = analysis.results.experiment.get("folds", {})
    caption = (
        f"{words.plural(len(used.get('used', [])), 'fold')} of {used.get('count', words.DASH)} "
        f"used, {words.plural(int(analysis.results.experiment.get('seeds', 1)), 'seed')} each; "
        f"split {used.get('split_id', words.DASH)}, the same for all architectures."
    )
    return Table(["Fold", "Test cases", "Which"], rows, caption, text_columns=3)


def excluded(analysis: Analysis) -> Table | None:
    """Cases that were set aside, with the reason."""
    cases = analysis.results.experiment.get("dataset", {}).get("excluded") or {}
    rows = [[str(case), str(reason)] for case, reason in cases.items()]
    return Table(["Case", "Set aside because"], rows, "", text_columns=2) if rows else None


def architectures(analysis: Analysis) -> Table:
    """Where every architecture comes from."""
    rows = []
    for entry in analysis.results.experiment.get("architectures", []):
        config = ", ".join(f"{key}={_text(value)}" for key, value in _flat(entry.get("config", {})))
        distribution = f"{entry.get('distribution') or words.DASH} {entry.get('version') or ''}"
        rows.append(
            [
                f"{entry['label']}\n{entry.get('title') or ''}".rstrip("\n"),
                str(entry.get("paper") or words.DASH),
                distribution.strip(),
                str(entry.get("source_hash") or words.DASH),
                config or "defaults",
                "; ".join(entry.get("notes") or []) or words.DASH,
            ]
        )
    head = ["Architecture", "Paper", "Distribution", "Source", "Configuration", "Notes"]
    return Table(head, rows, "Source: hash of the plugin's own source code.", text_columns=6)


def provenance(analysis: Analysis) -> Table:
    """What would be needed to do it again."""
    experiment = analysis.results.experiment
    dataset = experiment.get("dataset", {})
    device = experiment.get("device", {})
    kind = "synthetic" if dataset.get("synthetic") else "scans"
    rows = [
        ["Command", str(experiment.get("command") or words.DASH)],
        ["Created", str(experiment.get("created") or words.DASH)],
        ["kitsbench", str(experiment.get("version") or words.DASH)],
        ["Dataset", f"{dataset.get('name', '')} ({dataset.get('n_cases', '?')} cases, {kind})"],
        ["Dataset note", str(dataset.get("note") or words.DASH)],
        ["Dataset fingerprint", str(dataset.get("fingerprint") or words.DASH)],
        ["Labels", _text(dataset.get("labels") or {})],
        ["Protocol", str(experiment.get("protocol") or words.DASH)],
        ["Endpoint", str(experiment.get("endpoint") or words.DASH)],
        ["Margin", words.DASH if analysis.margin is None else f"{analysis.margin:g}"],
        ["Budget", str(experiment.get("budget", {}).get("text") or words.DASH)],
        [
            "Device",
            f"{device.get('kind', '')}, {device.get('name', '')}, "
            f"{words.plural(int(device.get('threads') or 1), 'thread')}",
        ],
    ]
    return Table(["What", "Value"], rows, "", text_columns=2)


def environments(analysis: Analysis) -> Table:
    """Versions and hardware of the trials; where they differ, every value that occurred."""
    values: dict[str, list[str]] = {}
    for trial in analysis.results.trials:
        for key, value in _flat(trial.environment):
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
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
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
