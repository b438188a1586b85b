"""Whatever happens to a file of a run: two lines say which, what is wrong with it and what to do.

Two hundred accidents, each seen by one verb. A traceback fails the test that sees it.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from command_line import call_kitsbench
from experiments.accidents import Accident, spoil_json, spoil_table

from kitsbench.data.preparation.manifest import Manifest
from kitsbench.errors import DataError
from kitsbench.experiments.records import (
    CasesRecord,
    CostsRecord,
    EnvironmentRecord,
    ExperimentRecord,
    LatestRecord,
    LedgerRecord,
    ProfileRecord,
    Status,
    TrialRecord,
    find_experiment,
)
from kitsbench.experiments.tables import CURVE, SCORES, read_table

READERS = {
    "experiments": ExperimentRecord.read,
    "latest.json": LatestRecord.read,
    "trial.json": TrialRecord.read,
    "status.json": Status.read,
    "ledger.json": LedgerRecord.read,
    "environment.json": EnvironmentRecord.read,
    "scores.parquet": lambda file: read_table(file, SCORES),
    "curve.parquet": lambda file: read_table(file, CURVE),
    "manifest.json": Manifest.read,
    "profiles": ProfileRecord.read,
    "costs": CostsRecord.read,
    "cases": CasesRecord.read,
}
OF_A_TRIAL = ("trial.json", "status.json", "ledger.json", "environment.json", "scores.parquet")
RESULTS = ("experiments", "latest.json", *OF_A_TRIAL, "curve.parquet", "profiles", "cases")
# What each verb reads; how often it is called (a run that finds all in order takes seconds).
READ = {
    "report": RESULTS,
    "claims": RESULTS,
    "leaderboard": RESULTS,
    "predict": ("experiments", "latest.json", "trial.json", "status.json"),
    "run": (*OF_A_TRIAL, "curve.parquet", "manifest.json"),
}
CALLS = ["claims"] * 6 + ["leaderboard"] * 5 + ["predict"] * 4 + ["report"] * 3 + ["run"] * 2
# What a run makes anew without a word, where it finds it damaged or not.
MADE_ANEW = ("experiments", "latest.json", "profiles", "costs", "cases")
# Keys that stand there only where something is known.
ADDED = {
    name
    for record in (EnvironmentRecord, LedgerRecord, ProfileRecord)
    for name, key in record.model_fields.items()
    if not key.is_required() and name != "schema_version"
}
# Parts with keys of any name: settings, labels, packages.
OPEN = ("config", "labels", "excluded", "packages", "settings", "company", "cases", "volumes_ml")


def plan(count: int) -> list[tuple[int, str, str]]:
    """Numbers of accidents, the verb that meets each, and the kind of file that it befalls."""
    turns: Counter[str] = Counter()
    found = []
    for number in range(count):
        verb = CALLS[number % len(CALLS)]
        kinds = READ[verb] * 2 + MADE_ANEW if verb == "run" else READ[verb]
        found.append((number, verb, kinds[turns[verb] % len(kinds)]))
        turns[verb] += 1
    return found


ACCIDENTS = plan(200)


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """Command and working directory of a run whose files may be damaged."""
    arguments, whole, done = finished
    assert done.code == 0, done.err
    workdir = shutil.copytree(whole, tmp_path_factory.mktemp("damaged") / "work")
    return [workdir if a == whole else a for a in arguments], workdir


def choose(number: int, verb: str, kind: str, workdir: Path) -> tuple[Path, Accident]:
    """A file of a kind that the verb reads, and what happens to it."""
    rng = random.Random(number)
    files = [file for file in sorted(workdir.rglob("*.*")) if kind_of(file) == kind]
    # What a report lays down for others is read by nobody here.
    files = [file for file in files if "report" not in file.relative_to(workdir).parts]
    if verb == "predict" and kind not in ("experiments", "latest.json"):
        read = {trial.id for trial in planned(workdir) if (trial.name, trial.fold) == ("alpha", 0)}
        files = [file for file in files if file.parent.name in read]
    file = rng.choice(files)
    spoil = spoil_table if file.suffix == ".parquet" else spoil_json
    return file, spoil(file.read_bytes(), rng)


def planned(workdir: Path):
    return find_experiment(workdir).trials


def command(verb: str, run, phantom: Path, out: Path) -> list[object]:
    arguments, workdir = run
    scan = next(phantom.rglob("case_00000/imaging.nii.gz"))
    networks = ["predict", "alpha", scan, "--folds", "0", "--plugin", arguments[1]]
    return {
        "report": ["report", workdir, "-o", out],
        "claims": ["claims", workdir, "--json"],
        "leaderboard": ["leaderboard", "add", workdir, "--to", out],
        "predict": [*networks, "-o", out, "--workdir", workdir],
        "run": arguments,
    }[verb]


def kind_of(file: Path) -> str:
    own = file.name in READERS or file.parent.name not in READERS
    return file.name if own else file.parent.name


def is_still_right(file: Path, accident: Accident) -> bool:
    """Whether the file may be what a run wrote: another word for a word, a setting less."""
    try:
        READERS[kind_of(file)](file)
    except DataError:
        return False
    *_, owner, _ = ("", "", *accident.place.split("."))
    left_out = accident.kind == "removed" and accident.place in ADDED
    assert accident.kind == "retyped" or owner in OPEN or left_out, accident.place
    return True


def test_the_accidents_are_of_every_kind(run):
    assert {kind for _, _, kind in ACCIDENTS} == set(READERS)
    chosen = [choose(*one, run[1]) for one in ACCIDENTS]
    kinds = Counter(accident.kind for _, accident in chosen)
    assert len(kinds) == 12
    assert min(kinds.values()) >= 3, kinds
    assert len({(file, accident.place, accident.kind) for file, accident in chosen}) > 150


@pytest.mark.parametrize(("number", "verb", "kind"), ACCIDENTS)
def test_an_accident_is_told_in_two_lines(run, phantom, tmp_path, number, verb, kind):
    file, accident = choose(number, verb, kind, run[1])
    whole = file.read_bytes()
    file.write_bytes(accident.content)
    try:
        right = is_still_right(file, accident)
        done = call_kitsbench(*command(verb, run, phantom, tmp_path / "out"))
        told = f"{verb}, {file.name}: {accident.kind} {accident.place}: {done.err[-1000:]}"
        if right or (verb == "run" and kind in MADE_ANEW):
            assert done.code == 0, told
            if verb == "run":
                READERS[kind](file)  # it is whole again
            return
        assert done.code == 2, told
        assert done.out == ""
        assert not (tmp_path / "out").exists()
        first, *rest = done.err[done.err.index("Error: ") :].strip().splitlines()
        assert str(file) in first, told
        assert 1 <= len(rest) <= 2, told
        assert rest[0].startswith(("Delete ", "A newer kitsbench wrote it: update")), told
        if accident.place and accident.kind not in ("nan", "huge"):
            assert names(first, accident.place, file), told
    finally:
        file.write_bytes(whole)


def names(line: str, place: str, file: Path) -> bool:
    """Whether a line names a column, a key, or the rule of the whole file that the key breaks."""
    if file.suffix == ".parquet":
        return f"the column {place}" in line
    if f"the key {place}" in line or "not the hash of what was planned" in line:
        return True
    # Some keys say how others must be.
    top = place.split(".")[0]
    rules = {"identity": "not the hash of identity", "context": "the key context.recipe is not"}
    return rules.get(top, f"the key {top} ") in line
