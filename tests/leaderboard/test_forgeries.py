"""Forged boards: whatever is changed in an honest entry, ``check`` refuses it and names the key.

The forger is diligent: whoever changes a word makes the seals anew, whoever changes the table its
hash. Only where nothing else proves a fact is the seal left as it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from leaderboard.forging import (
    TABLE,
    Change,
    Content,
    Forge,
    a_pipe,
    at,
    forged,
    gone,
    index,
    linked,
    moved,
    named,
    of_size,
    read,
    read_rows,
    replaced,
    rewritten,
    told,
    write,
    write_rows,
)
from reporting.workdirs import Plan
from stored_files import put

from kitsbench.errors import DataError
from kitsbench.leaderboard import Entry, check_boards, render_boards

FAILED = (("b:width=0.5", 1, 0, "out-of-memory"),)
PLAN = Plan({"a": 0.0, "b:width=0.5": 0.1}, 2, 2, 2, FAILED, showcase=0, predictions=False)


def score(**values: Any) -> Change:
    """Change the score of the endpoint; a number is added to what stands there."""

    def change(content: Content) -> None:
        one = content["scores"][index(content)]
        for key, value in values.items():
            one[key] = value if isinstance(value, int) else one[key] + value

    return change


def scaled(place: str, factor: float) -> Change:
    def change(content: Content) -> None:
        owner, key = content, place.split(".")
        for part in key[:-1]:
            owner = owner[part]
        owner[key[-1]] *= factor

    return change


def each(*changes: Change) -> Change:
    """Several forgeries at once."""

    def change(content: Content) -> None:
        for one in changes:
            one(content)

    return change


def repeated(first: bool) -> Change:
    """A second row of the endpoint with a better mean, before the true one or at the end."""

    def change(content: Content) -> None:
        number = index(content)
        better = {**content["scores"][number], "mean": 0.99, "ci_high": 1.0}
        content["scores"].insert(number if first else len(content["scores"]), better)

    return change


def without_secondary(content: Content) -> None:
    del content["scores"][index(content) + 1 :]


def all_failed(content: Content) -> None:
    runs = content["trials"]["runs"]
    for run in runs:
        run.update(state="failed", reason="killed")
    content["trials"].update(finished=0, failed=len(runs), reasons={"killed": len(runs)})


def recipe_and_hash(content: Content) -> None:
    """Another learning rate, with the hash that belongs to it."""
    content["recipe"]["full"]["optimiser"]["lr"] = 0.5
    text = json.dumps(content)
    content["recipe"]["digest"] = Entry.model_validate_json(text).recipe.full.digest()


def unknown_protocol(content: Content) -> None:
    content["protocol"] = "kits99"
    for one in content["scores"]:
        one["protocol"] = "kits99"


def fewer_trials(content: Content) -> None:
    """The second seed, which was the worse, was never run."""
    trials = content["trials"]
    trials["runs"] = [run for run in trials["runs"] if run["seed"] == 0]
    trials["ids"] = [run["id"] for run in trials["runs"]]
    trials["finished"] = len(trials["ids"])
    content["seeds"] = 1


def spent(key: str, factor: float) -> Change:
    """What every run spent times a factor, and the mean that follows from it."""

    def change(content: Content) -> None:
        runs = [run for run in content["trials"]["runs"] if run["spent"]]
        for run in runs:
            run["spent"][key] = type(run["spent"][key])(run["spent"][key] * factor)
        content["cost"][key] = sum(run["spent"][key] for run in runs) / len(runs)

    return change


def last(place: str) -> Change:
    """Put the last of a list in the place of its first."""

    def change(content: Content) -> None:
        *path, key = place.split(".")
        owner = content
        for part in path:
            owner = owner[part]
        owner[key][0] = owner[key][-1]

    return change


CHANGED = {
    # scores
    "mean": (score(mean=0.01), ("scores.3.mean",)),
    "mean of a percent of a percent": (score(mean=1e-4), ("scores.3.mean",)),
    "lower limit": (score(ci_low=0.01), ("scores.3.ci_low",)),
    "upper limit": (score(ci_high=-0.01), ("scores.3.ci_high",)),
    "mean and interval": (
        score(mean=0.1, ci_low=0.1, ci_high=0.1),
        ("scores.3.mean", "scores.3.ci_low", "scores.3.ci_high"),
    ),
    "no interval": (at("scores.3.ci_low", None, "scores.3.ci_high", None), ("scores.3.ci_low",)),
    "no mean": (
        at("scores.3.mean", None, "scores.3.ci_low", None, "scores.3.ci_high", None),
        ("scores.3.mean",),
    ),
    "mean outside its interval": (score(mean=0.2), ("outside its own interval",)),
    "mean above 1": (score(mean=2, ci_high=2), ("scores.3", "between 0 and 1")),
    "spread over folds": (score(sd_over_folds=-0.001), ("scores.3.sd_over_folds",)),
    "n_cases of a score": (score(n_cases=400), ("scores.3.n_cases",)),
    "n_failed of a score": (score(n_failed=5), ("scores.3.n_failed",)),
    "n_undefined of a score": (score(n_undefined=1), ("scores.3.n_undefined",)),
    "n_cases below 0": (score(n_cases=-1), ("scores.3.n_cases",)),
    "second row before": (repeated(True), ("kits19 tumor:dice 2 times",)),
    "second row after": (repeated(False), ("kits19 tumor:dice 2 times",)),
    "a secondary score left out": (lambda c: c["scores"].pop(), ("labels tumor:recall",)),
    "all secondary scores left out": (without_secondary, ("labels kidney:dice", "tumor:recall")),
    "no scores": (at("scores", []), ("no score for the endpoint",)),
    "score of another protocol": (at("scores.5.protocol", "kits23"), ("scores.5", "kits19")),
    "score of another region": (at("scores.5.region", "cyst"), ("scores.5", "lacks")),
    "score of another metric": (at("scores.5.metric", "surface_dice"), ("scores.5",)),
    "a secondary mean": (at("scores.11.mean", 0.7), ("scores.11.mean",)),
    # ranks
    "rank below 1": (at("rank.rank", -5), ("rank.rank",)),
    "another rank": (at("rank.rank", 2), ("rank.rank",)),
    "P(first) above 1": (at("rank.p_first", 7), ("rank.p_first",)),
    "another P(first)": (at("rank.p_first", 0.5), ("rank.p_first",)),
    "interval of the rank reversed": (
        at("rank.rank_low", 2.0, "rank.rank_high", 1.0),
        ("rank.rank_high",),
    ),
    "another group": (at("rank.group", "z"), ("rank.group",)),
    "another scope": (at("rank.scope", "L2"), ("rank.scope",)),
    "no rank": (at("rank", None), ("the key rank ",)),
    # trials
    "all failed with high scores": (all_failed, ("whose trial failed (trials.runs)",)),
    "one failed": (
        at("trials.finished", 3, "trials.failed", 1, "trials.reasons", {"killed": 1}),
        ("trials.finished", "trials.failed", "trials.reasons"),
    ),
    "counts without runs": (at("trials.failed", 5), ("do not make",)),
    "unknown reason": (at("trials.reasons", {"bad luck": 0}), ("trials.reasons",)),
    "a trial twice": (last("trials.ids"), ("trials.ids",)),
    "a run twice": (last("trials.runs"), ("fold and seed of trials.runs", "trials.ids")),
    "another trial": (at("trials.ids.0", "0" * 16), ("trials.ids",)),
    "another trial throughout": (
        at("trials.ids.0", "0" * 16, "trials.runs.0.id", "0" * 16),
        ("trials.runs.0.id", "the key experiment"),
    ),
    "fewer trials": (fewer_trials, ("seeds", "which no trial made", "the key experiment")),
    "no runs": (at("trials.runs", []), ("trials.runs",)),
    "a member": (at("trials.runs.0.members", ["0" * 16]), ("trials.runs.0.id",)),
    # dataset
    "n_cases 1": (at("dataset.n_cases", 1), ("dataset.n_cases",)),
    "n_cases 0": (at("dataset.n_cases", 0), ("dataset.n_cases",)),
    "more cases than there are": (at("dataset.n_cases", 900), ("dataset.n_cases",)),
    "excluded cases": (at("dataset.n_excluded", 0), ("dataset.n_excluded",)),
    "name of the dataset": (at("dataset.name", "KiTS23"), ("dataset.name",)),
    "note of the dataset": (at("dataset.note", "Patients."), ("dataset.note",)),
    "fingerprint": (at("dataset.fingerprint", "f" * 16), ("dataset.fingerprint",)),
    "fingerprint throughout": (
        at("dataset.fingerprint", "f" * 16, "identity.dataset", "f" * 16),
        ("trials.runs.0.id",),
    ),
    "not synthetic": (at("synthetic", False), ("synthetic",)),
    "not synthetic throughout": (
        at("synthetic", False, "dataset.synthetic", False),
        ("dataset.synthetic",),
    ),
    # conditions
    "learning rate": (at("recipe.full.optimiser.lr", 0.5), ("recipe.digest",)),
    "learning rate with its hash": (recipe_and_hash, ("trials.runs.0.recipe", "its recipe is")),
    "hash of the recipe": (at("recipe.digest", "f" * 16), ("recipe.digest",)),
    "name of the recipe": (at("recipe.name", "paper"), ("recipe.name",)),
    "mode of the recipe": (at("recipe.mode", "paper"), ("recipe.mode",)),
    "a tuned recipe": (lambda c: c["recipe"]["tuned"].append(c["recipe"]["full"]), ("tuned",)),
    "a word of the recipe missing": (lambda c: c["recipe"]["full"].pop("batch"), ("full.batch",)),
    "budget times 100": (scaled("budget.amount", 100), ("budget.text", "budget.amount")),
    "unit of the budget": (at("budget.unit", "steps"), ("budget.text", "budget.unit")),
    "text of the budget": (at("budget.text", "1s"), ("budget.text",)),
    "budget throughout": (
        at("budget.amount", 40.0, "budget.text", "40s", "identity.budget", [40.0, "seconds"]),
        ("trials.runs.0.id", "that of 'a' '40s'"),
    ),
    "budget below 0": (at("budget.amount", -20.0), ("budget.amount",)),
    "a fold outside the count": (at("folds.used", [0, 7]), ("folds.used",)),
    "a fold twice": (at("folds.used", [0, 0]), ("folds.used",)),
    "fold below 0": (at("folds.used", [-1, 0]), ("folds.used",)),
    "one fold": (at("folds.count", 1), ("folds.used", "folds")),
    "a thousand folds": (at("folds.count", 1000), ("folds",)),
    "split": (at("folds.split_id", "f" * 16), ("folds.split_id",)),
    "seeds": (at("seeds", 3), ("need 6 trials",)),
    "no seeds": (at("seeds", 0), ("seeds",)),
    "protocol": (at("protocol", "labels"), ("protocol",)),
    "unknown protocol": (
        each(
            at("protocol", "kits99"), lambda c: [s.update(protocol="kits99") for s in c["scores"]]
        ),
        ("kits99",),
    ),
    "endpoint": (at("endpoint", "kidney_and_tumor:dice"), ("endpoint",)),
    "endpoint that nobody scores": (at("endpoint", "tumor:hd95_mm"), ("tumor:hd95_mm",)),
    "experiment": (at("experiment", "f" * 16), ("the key experiment",)),
    # identity and provenance
    "name": (at("name", "unet3d"), ("the key name", "belongs into unet3d.json")),
    "setting in the name": (at("name", "a:width=2"), ("width=2",)),
    "architecture": (at("identity.architecture", "c"), ("the key name", "trials.runs.0.id")),
    "no identity": (at("identity", None), ("identity",)),
    "version": (at("provenance.version", "9.9"), ("provenance.version",)),
    "source": (at("provenance.source_hash", "f" * 16), ("provenance.source_hash",)),
    "config": (at("provenance.config.width", 2.0), ("provenance.config",)),
    "config throughout": (
        at("provenance.config.width", 2.0, "identity.config.width", 2.0),
        ("trials.runs.0.id",),
    ),
    "kitsbench": (at("provenance.kitsbench", "9.9"), ("provenance.kitsbench",)),
    "no environment": (at("provenance.environment", None), ("provenance.environment",)),
    "device": (at("cost.device", "H100"), ("cost.device",)),
    # cost
    "parameters -1": (at("cost.parameters", -1), ("cost.parameters",)),
    "parameters 0": (at("cost.paper_parameters", 0), ("cost.paper_parameters",)),
    "steps": (scaled("cost.steps", 100), ("cost.steps",)),
    "device seconds": (scaled("cost.device_seconds", 0.5), ("cost.device_seconds",)),
    "device seconds below 0": (at("cost.device_seconds", -1.0), ("cost.device_seconds",)),
    "memory": (at("cost.peak_memory_bytes", 1), ("cost.peak_memory_bytes",)),
    "throughput": (at("cost.patches_per_s", None), ("cost.patches_per_s",)),
    "half of the budget": (spent("device_seconds", 0.5), ("trials.runs.0.spent.device_seconds",)),
    "twice the budget": (spent("device_seconds", 2.0), ("a training run spends the budget, 20s",)),
    "another device throughout": (
        at("provenance.environment.device_name", "H100", "cost.device", "H100"),
        ("identity.device_class",),
    ),
    "no time": (at("provenance.created", "yesterday"), ("provenance.created",)),
    # the file
    "unknown key": (at("extra", 1), ("extra",)),
    "unknown key inside": (at("rank.extra", 1), ("rank.extra",)),
    "newer format": (at("schema_version", 3), ("schema_version",)),
    "text for a version": (at("schema_version", "2"), ("schema_version",)),
    "rows of the table": (at("table.rows", 1), ("table.rows",)),
    "hash of the table": (at("table.sha256", "f" * 64), ("table.sha256",)),
    # several at once
    "a better entry": (
        each(score(mean=0.1, ci_low=0.1, ci_high=0.1), at("rank.group", "", "rank.p_first", 1.0)),
        ("scores.3.mean", "rank.group", "rank.p_first"),
    ),
    "a larger study": (
        each(at("dataset.n_cases", 489), score(n_cases=489)),
        ("dataset.n_cases", "scores.3.n_cases"),
    ),
    "a cheaper network": (
        each(
            scaled("cost.steps", 0.1), at("provenance.version", "2"), at("trials.ids.0", "1" * 16)
        ),
        ("cost.steps", "provenance.version", "trials.ids"),
    ),
}


@pytest.mark.parametrize("forgery", CHANGED)
def test_a_changed_entry_is_refused_with_its_key(board, forgery):
    change, keys = CHANGED[forgery]
    forged(change)(board)
    found = told(board)
    for key in keys:
        assert key in found


SEALED = {
    "title": "Ours",
    "paper": "Nature, 2030",
    "dataset.n_excluded": 7,
    "cost.parameters": 1,
    "cost.paper_parameters": 1,
    "cost.flops_step": 1.0,
    "cost.inference_ms": 1.0,
    "cost.device": "Test CPU, H100",
    "provenance.distribution": "ours",
    "provenance.command": "kitsbench run a",
    "provenance.created": "2020-01-01",
    "provenance.environment.packages.torch": "9.9",
    "seals.title": "f" * 16,
}


RUNS = {
    "fewer steps": spent("steps", 0.1),
    "fewer FLOPs": spent("flops", 0.1),
    "higher throughput": spent("patches_per_s", 3.0),
    "another reason": at("trials.runs.0.reason", "killed", "trials.reasons", {"killed": 1}),
}


@pytest.mark.parametrize("forgery", RUNS)
def test_what_runs_say_of_themselves_is_sealed(board, forgery):
    name = "b-width=0.5" if forgery == "another reason" else "a"
    content = read(board, name)
    runs = content["trials"]["runs"]
    runs.sort(key=lambda run: run["state"])  # the failed one first
    content["trials"]["ids"] = [run["id"] for run in runs]
    RUNS[forgery](content)
    write(board, content, name, seal=False)
    assert "the key trials.runs was changed" in told(board)


@pytest.mark.parametrize("place", SEALED)
def test_a_fact_that_nothing_else_proves_is_sealed(board, place):
    content = read(board)
    put(content, place, SEALED[place])
    write(board, content, seal=False)
    assert place.removeprefix("seals.").split(".packages")[0] in told(board)


def test_a_seal_of_another_entry_seals_nothing(board):
    content = read(board)
    other = read(board, "b-width=0.5")
    content["title"], content["seals"]["title"] = other["title"], other["seals"]["title"]
    write(board, content, seal=False)
    assert "the key title was changed" in told(board)


def linked_board(board: Path) -> None:
    elsewhere = board.parent.parent / "elsewhere"
    shutil.move(board, elsewhere)
    board.symlink_to(elsewhere)


def copied(board: Path) -> None:
    """A whole entry once more, under another name."""
    named("c")(board)
    moved(board, "a", "c")


def copied_beside(board: Path) -> None:
    before = {file.name: file.read_bytes() for file in board.iterdir()}
    copied(board)
    for name, content in before.items():
        (board / name).write_bytes(content)


def renamed(board: Path) -> None:
    (board / "a.json").rename(board / "z.json")


def without_entry(board: Path) -> None:
    (board / "b-width=0.5.json").unlink()
    (board / "b-width=0.5.scores.csv.gz").unlink()


def trials_of_another(board: Path) -> None:
    content, other = read(board), read(board, "b-width=0.5")
    for key in ("identity", "trials"):
        content[key] = other[key]
    write(board, content)


def cells(change: Callable[[dict[str, str]], Any], name: str = "a", hashed: bool = True) -> Forge:
    """Change rows of a table; None leaves a row as it is, False leaves it out."""

    def forge(board: Path) -> None:
        rows = [(row, change(row)) for row in read_rows(board, name)]
        kept = [{**row, **(new or {})} for row, new in rows if new is not False]
        write_rows(board, kept, name, hashed)

    return forge


def raised(row: dict[str, str]) -> dict[str, str] | None:
    wanted = (row["protocol"], row["region"], row["metric"]) == ("kits19", "tumor", "dice")
    return {"value": str(float(row["value"]) + 0.1)} if wanted else None


def recovered(row: dict[str, str]) -> dict[str, str] | None:
    return {"status": "ok", "value": "0.9"} if row["status"] == "failed" else None


def exchanged(row: dict[str, str]) -> dict[str, str] | None:
    """Tumors for kidneys, in what was scored label by label."""
    other = {"tumor": "kidney", "kidney": "tumor"}
    return {"region": other[row["region"]]} if row["protocol"] == "labels" else None


def second_seed_of(name: str) -> Forge:
    """One training run of the first entry, entered as the second seed of one."""

    def forge(board: Path) -> None:
        keys = ("protocol", "fold", "case", "region", "metric")
        first = {tuple(row[key] for key in keys): row for row in read_rows(board)
                 if row["seed"] == "0"}  # fmt: skip
        rows = read_rows(board, name)
        for row in rows:
            if row["seed"] == "1":
                row["value"] = first[tuple(row[key] for key in keys)]["value"]
        write_rows(board, rows, name)

    return forge


def twice(board: Path) -> None:
    rows = read_rows(board)
    write_rows(board, [*rows, rows[-1]])


def another_table(board: Path) -> None:
    write_rows(board, read_rows(board, "b-width=0.5"))


def without_protocol(board: Path) -> None:
    cells(lambda row: False if row["protocol"] == "labels" else None)(board)
    content = read(board)
    content["scores"] = [one for one in content["scores"] if one["protocol"] == "kits19"]
    write(board, content)


def without_secondary_throughout(board: Path) -> None:
    """A metric that nobody shall see, left out of both entries with their tables."""
    for name in ("a", "b-width=0.5"):
        cells(lambda row: False if row["metric"] == "precision" else None, name)(board)
        content = read(board, name)
        content["scores"] = [one for one in content["scores"] if one["metric"] != "precision"]
        write(board, content, name)


def another_dataset(board: Path) -> None:
    """The same scans under another name, on a board of its own."""
    other = board.parent / "other"
    shutil.copytree(board, other)
    for name in ("a", "b-width=0.5"):
        cells(lambda row: {"dataset": "KiTS23"}, name)(other)
        content = read(other, name)
        content["dataset"]["name"] = "KiTS23"
        write(other, content, name)


def of_an_earlier_format(board: Path) -> None:
    content = read(board)
    content["schema_version"] = 1
    del content["table"]
    (board / "a.json").write_text(json.dumps(content))


def deep(board: Path) -> None:
    (board / "a.json").write_text("[" * 100_000)


def inside(board: Path) -> None:
    shutil.copytree(board, board / "more")


FILES = {
    "NaN in config": (replaced('"width": 0.25', '"width": NaN'), "NaN"),
    "infinity in config": (replaced('"width": 0.25', '"width": 1e400'), "a.json: "),
    "duplicate keys": (replaced('"synthetic": true,', '"synthetic": false, "synthetic": true,'),
                       "'synthetic' twice"),
    "duplicate keys inside": (replaced('"rank": 1.0', '"rank": 2.0, "rank": 1.0'), "'rank' twice"),
    "no JSON": (replaced("{", ""), "is no JSON"),
    "nested deeply": (deep, "too deep"),
    "a linked entry": (linked("a.json"), "a.json: a symbolic link"),
    "a linked table": (linked(TABLE), "a.scores.csv.gz is a symbolic link"),
    "a linked board": (linked_board, "phantom: a symbolic link"),
    "a board in a board": (inside, "boards lie side by side"),
    "an entry under another name": (copied, "the key name"),
    "an entry once more": (copied_beside, "the key trials.ids"),
    "a file under another name": (renamed, "belongs into a.json"),
    "trials of another entry": (trials_of_another, "a trial of a.json"),
    "an entry left out": (without_entry, "an entry is missing"),
    "no table": (gone(TABLE), "a.scores.csv.gz cannot be read"),
    "a table cut short": (
        rewritten(lambda data: data[:-20], TABLE), "a.scores.csv.gz cannot be read",
    ),
    "a better table": (cells(raised, hashed=False), "table.sha256"),
    "a better table with its hash": (cells(raised), "scores.3.mean"),
    "a failure that was none": (cells(recovered, "b-width=0.5"), "whose trial failed"),
    "failed rows left out": (
        cells(lambda row: False if row["status"] == "failed" else None, "b-width=0.5"),
        "lacks case_0000",
    ),
    "a case left out": (
        cells(lambda row: False if row["case"] == "case_00001" else None),
        "lacks case_00001 in fold 1",
    ),
    "a case in another fold": (
        cells(lambda row: {"fold": "0"} if row["case"] == "case_00001" else None),
        "lacks case_00001 in fold 1",
    ),
    "a Dice that precision and recall do not give": (cells(raised), "its precision and recall"),
    "regions exchanged": (cells(exchanged), "and the voxels are the same"),
    "a seed twice": (second_seed_of("a"), "seed 1 are those of seed 0: one training run"),
    "a run of another": (second_seed_of("b-width=0.5"), "seed 1 are those of a.json, seed 0"),
    "cells in another spelling": (cells(lambda row: {"fold": f"0{row['fold']}"}), "spelling"),
    "rows in another order": (lambda board: write_rows(board, read_rows(board)[::-1]), "order"),
    "a pipe for a table": (a_pipe(TABLE), "it is a pipe"),
    "a table of 3 GB": (of_size(TABLE, 3 * 2**30), "more than 67 MB"),
    "a row twice": (twice, "repeats"),
    "a case that nobody scored": (cells(lambda row: {"value": ""}), "is empty"),
    "a Dice above 1": (cells(lambda row: {"value": "1.5"}), "between 0 and 1"),
    "an empty prediction with a Dice": (
        cells(lambda row: {"status": "empty_prediction"} if raised(row) else None),
        "status is empty_prediction",
    ),
    "another's table": (another_table, "has scores of 'b:width=0.5'"),
    "another dataset's table": (cells(lambda row: {"dataset": "KiTS23"}), "the key dataset.name"),
    "scores of a seed that nobody ran": (
        cells(lambda row: {"seed": "7"} if row["seed"] == "1" else None),
        "fold 0, seed 7, which no trial made",
    ),
    "no column": (cells(lambda row: row.pop("status") and None), "must have the columns"),
    "no scores by label": (without_protocol, "lacks scores by labels"),
    "a metric left out throughout": (without_secondary_throughout, "kits19 tumor:precision"),
    "one dataset, two names": (another_dataset, "the key dataset.name"),
    "an earlier format": (of_an_earlier_format, "an entry of an earlier kitsbench"),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FILES)
def test_a_changed_file_is_refused_with_its_reason(board, forgery):
    forge, words = FILES[forgery]
    forge(board)
    assert words in told(board)


def test_there_are_enough_forgeries():
    assert len(CHANGED) + len(SEALED) + len(FILES) > 63 + 20


def test_the_honest_board_passes(board):
    assert check_boards(board.parent) == (2, [])


def test_a_forged_board_is_not_rendered(board):
    forged(score(mean=0.01))(board)
    with pytest.raises(DataError, match=r"a\.json: the key scores\.3\.mean") as refused:
        render_boards(board.parent)
    assert len(str(refused.value).splitlines()) == 2
    assert not list(board.parent.glob("*.md"))
