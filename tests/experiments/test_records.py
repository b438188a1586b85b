"""Files of a run as types: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from reporting.workdirs import RECIPE, Plan, trial_record, write_workdir
from stored_files import change, damage, experiment_of, put, replan

from kitsbench.errors import DataError
from kitsbench.experiments.records import (
    AccountsRecord,
    CasesRecord,
    CostsRecord,
    DatasetNote,
    EntrantRecord,
    EnvironmentRecord,
    ExperimentRecord,
    LatestRecord,
    LedgerRecord,
    ProfileRecord,
    Status,
    TrialContext,
    TrialIdentity,
    TrialRecord,
    find_experiment,
)
from kitsbench.experiments.tables import CURVE, SCORES, read_table, write_table
from kitsbench.files import digest
from kitsbench.recipe import Intensity, Optimiser, Transform
from kitsbench.training.meters.device_speed import DeviceSpeed

RECORDS = {
    "experiments/[0-9a-f]*.json": ExperimentRecord,
    "experiments/latest.json": LatestRecord,
    "experiments/*/accounts.json": AccountsRecord,
    "trials/*/trial.json": TrialRecord,
    "trials/*/status.json": Status,
    "trials/*/ledger.json": LedgerRecord,
    "trials/*/environment.json": EnvironmentRecord,
    "profiles/*.json": ProfileRecord,
    "costs/*.json": CostsRecord,
    "cases/*.json": CasesRecord,
    "devices/*.json": DeviceSpeed,
}
# The identity of a trial that an earlier kitsbench trained, and the id that it gave.
STORED = {
    "architecture": "attention_vnet",
    "config": {
        "size": "tiny",
        "resolution": "full",
        "width": 0.26666666666666666,
        "depth": 3,
        "supervision": "summed",
        "gates": "on",
        "gate_init": "open",
        "kernels": "iso",
        "batch_dice": "off",
        "dropout": 0.0,
        "paper_lr": 0.0003,
    },
    "version": "0.1.0",
    "source_hash": "d776af9e799ace3a",
    "spec": "7a6b26ebf20639d2",
    "dataset": "9eb9bb0ea27580cc",
    "preparation": {"image": "6294cd0780050553"},
    "split": "1c2089dd37337dab",
    "fold": 1,
    "seed": 0,
    "recipe": "8809ef932f64149f",
    "budget": (6.0, "steps"),
    "precision": "float32",
    "device_class": None,
    "members": (),
}
STORED_ID = "8ea8ad1eb8791171"


def identity(**fields) -> TrialIdentity:
    """The stored identity with other fields; which numerics it has is of no matter here."""
    return TrialIdentity(**{**STORED, "numerics": 1, "compile": False, "tta": None, **fields})


def id_of_then(identity) -> str:
    """The id without ``numerics``, which came later and is part of every id since."""
    content = identity.hashed()
    del content["numerics"]
    return digest(content)


@pytest.fixture
def workdir(tmp_path):
    plan = Plan({"a": 0.0}, folds=1, seeds=1, failed=(("a", 0, 0, "timeout"),), predictions=False)
    return write_workdir(tmp_path / "work", plan)


@pytest.mark.parametrize("pattern", RECORDS)
def test_each_file_of_a_run_is_written_again_as_it_was(finished, tmp_path, pattern):
    _, run, done = finished
    assert done.code == 0, done.err
    files = sorted(run.glob(pattern))
    assert files
    for file in files:
        record = RECORDS[pattern].read(file)
        record.write(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == file.read_bytes()
        assert RECORDS[pattern].read(tmp_path / "again.json") == record


@pytest.mark.parametrize(("name", "columns"), [("scores", SCORES), ("curve", CURVE)])
def test_each_table_of_a_run_is_written_again_as_it_was(finished, tmp_path, name, columns):
    _, run, _ = finished
    files = sorted(run.glob(f"trials/*/{name}.parquet"))
    assert len(files) == 8
    for file in files:
        table = read_table(file, columns)
        assert len(table) > 0
        write_table(tmp_path / "again.parquet", table, columns)
        pd.testing.assert_frame_equal(read_table(tmp_path / "again.parquet", columns), table)


def test_a_trial_lies_where_the_hash_of_its_identity_says(finished):
    _, run, _ = finished
    experiment = find_experiment(run)
    assert len(experiment.trials) == 8
    for planned in experiment.trials:
        trial = TrialRecord.read(run / "trials" / planned.id / "trial.json")
        assert trial.id == trial.identity.digest() == planned.id
        assert (trial.name, trial.fold, trial.seed) == (planned.name, planned.fold, planned.seed)


def test_an_identity_without_options_has_the_id_that_it_always_had():
    assert id_of_then(identity()) == STORED_ID
    others = [
        identity(compile=True),
        identity(tta=()),
        identity(tta=((2,),)),
        identity(seed=1),
        identity(members=("0123456789abcdef",)),
        identity(budget=(6.0, "voxels")),
        identity(config={**STORED["config"], "depth": 4}),
    ]
    assert len({id_of_then(one) for one in (identity(), *others)}) == 1 + len(others)


def test_a_recipe_keeps_its_hash_whether_its_numbers_are_whole_or_not(tmp_path):
    """An author may write 1 for 1.0, and JSON tells the two apart."""
    recipe = replace(
        RECIPE,
        spacing=(3, 1.62, 1.62),
        intensity=Intensity(clip=(-79, 304)),
        augmentation=(Transform("mirror", 1, (("axes", (0, 2)),)),),
        optimiser=Optimiser("adam", lr=1),
        sources=(("spacing", "section 3"),),
    )
    plain = trial_record(Plan({"a": 0.0}), "a", 0, 0)
    trial = TrialRecord.of(
        plain.identity.model_copy(update={"recipe": recipe.digest()}),
        plain.context.model_copy(update={"recipe": recipe}),
    )
    trial.write(tmp_path / "trial.json")
    found = TrialRecord.read(tmp_path / "trial.json")
    assert found == trial
    assert found.context.recipe.digest() == recipe.digest()
    assert json.dumps(found.context.recipe.to_dict()) == json.dumps(recipe.to_dict())


HALF = "a\udcff \ud800"  # of a name whose bytes are no text
WRITTEN_OUT = r"a\udcff \ud800"


def test_half_of_a_character_in_a_plan_changes_no_hash_when_it_is_read(workdir):
    old = find_experiment(workdir)
    excluded = {"b": "x", HALF: HALF, "\\": "y"}
    found = replan(
        workdir,
        command=HALF,
        dataset=DatasetNote(
            **{**dict(old.dataset), "name": HALF, "path": HALF, "note": HALF, "excluded": excluded}
        ),
        entrants=(EntrantRecord(**{**dict(old.entrants[0]), "title": HALF, "notes": (HALF,)}),),
    )
    assert (found.command, found.entrants[0].notes) == (WRITTEN_OUT, (WRITTEN_OUT,))
    assert found.dataset.excluded[WRITTEN_OUT] == WRITTEN_OUT


def test_half_of_a_character_in_a_trial_changes_no_hash_when_it_is_read(tmp_path):
    recipe = replace(RECIPE, name=HALF)
    plain = trial_record(Plan({"a": 0.0}), "a", 0, 0)
    trial = TrialRecord.of(
        TrialIdentity(
            **{**dict(plain.identity), "config": {HALF: HALF}, "recipe": recipe.digest()}
        ),
        TrialContext(
            **{**dict(plain.context), "recipe": recipe, "location": HALF, "test_cases": (HALF,)}
        ),
    )
    trial.write(tmp_path / "trial.json")
    found = TrialRecord.read(tmp_path / "trial.json")
    assert (found.id, found.identity) == (trial.id, trial.identity)
    assert found.context.test_cases == trial.context.test_cases == (WRITTEN_OUT,)


@pytest.mark.parametrize("pattern", [p for p in RECORDS if "costs" not in p and "dev" not in p])
def test_a_file_of_another_version_is_named_with_what_to_do(finished, tmp_path, pattern):
    _, run, _ = finished
    file = tmp_path / Path(pattern).name.replace("*", "x")
    original = next(run.glob(pattern)).read_bytes()
    known = RECORDS[pattern].model_fields["schema_version"].default
    for version, words in (
        (known + 1, rf"schema_version is {known + 1}; .* reads up to {known}\.\n.*update"),
        (0, f"schema_version is 0; it must be {known}"),
        (str(known), f"schema_version is '{known}'; it must be {known}"),
        (True, f"schema_version is True; it must be {known}"),
        (float(known), rf"schema_version is {known}\.0; it must be {known}"),
        (None, f"schema_version is None; it must be {known}"),
    ):
        file.write_bytes(original)
        damage(file, lambda content, version=version: content.update(schema_version=version))
        with pytest.raises(DataError, match=words) as refused:
            RECORDS[pattern].read(file)
        assert str(refused.value).startswith(f"{file}: ")
        assert len(str(refused.value).splitlines()) == 2
    damage(file, lambda content: content.pop("schema_version"))
    with pytest.raises(DataError, match=r"schema_version is missing.*\n(Delete|Restore)"):
        RECORDS[pattern].read(file)


def test_a_failed_trial_gives_a_reason_and_no_other_does(workdir):
    file = next(workdir.glob("trials/*/status.json"))
    assert change(file, Status, reason="out-of-memory").reason == "out-of-memory"
    for updates in ({"reason": None}, {"status": "finished"}, {"status": "running"}):
        whole = file.read_bytes()
        with pytest.raises(DataError, match=r"status\.json.*the key reason") as refused:
            change(file, Status, **updates)
        assert "Delete the folder of this trial" in str(refused.value)
        file.write_bytes(whole)
    assert change(file, Status, status="finished", reason=None).ended


@pytest.mark.parametrize(
    ("pattern", "place", "value"),
    [
        ("trials/*/status.json", "status", "done"),
        ("trials/*/status.json", "reason", "bored"),
        ("trials/*/trial.json", "identity.precision", "float8"),
        ("trials/*/trial.json", "context.budget.unit", "hours"),
        ("trials/*/trial.json", "context.recipe.intensity.scale", "cubic"),
        ("experiments/[0-9a-f]*.json", "recipe_mode", "own"),
        ("experiments/[0-9a-f]*.json", "entrants.0.status", "fine"),
        ("experiments/[0-9a-f]*.json", "entrants.0.combine", "median"),
        ("experiments/[0-9a-f]*.json", "trials.0.id", "../../elsewhere"),
        ("experiments/[0-9a-f]*.json", "trials.0.id", "0123456789abcdef\n"),
    ],
)
def test_words_of_closed_sets_are_refused_by_their_key(workdir, pattern, place, value):
    (file,) = workdir.glob(pattern)
    damage(file, lambda content: put(content, place, value))
    with pytest.raises(DataError) as refused:
        RECORDS[pattern].read(file)
    assert f"{file}: the key {place} is wrong" in str(refused.value)
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        ("experiments/[0-9a-f]*.json", "recipe.batch"),
        ("experiments/[0-9a-f]*.json", "recipe.optimiser.amsgrad"),
        ("experiments/[0-9a-f]*.json", "entrants.0.notes"),
        ("experiments/[0-9a-f]*.json", "trials.0.seed"),
        ("experiments/[0-9a-f]*.json", "tuning"),
        ("trials/*/environment.json", "speed.schema_version"),
        ("trials/*/trial.json", "context.recipe.sampling.stride"),
    ],
)
def test_no_default_stands_in_for_a_key_that_was_lost(workdir, pattern, place):
    (file,) = workdir.glob(pattern)
    damage(file, lambda content: put(content, place))
    with pytest.raises(DataError, match=f"the key {place} is missing"):
        RECORDS[pattern].read(file)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("id", "0123456789abcdef", "which is not the hash of identity"),
        ("identity.seed", 7, "which is not the hash of identity"),
        ("context.recipe.batch", 7, "context.recipe is not the recipe whose hash"),
        ("context.budget.amount", 7.0, "context.budget is not the budget of identity.budget"),
        ("context.window.3", None, "the key context.window.3 is wrong"),
        ("identity.config.width", None, "the key identity.config.width is wrong"),
    ],
)
def test_a_trial_that_is_not_what_its_id_says_is_refused(workdir, place, value, words):
    (file,) = workdir.glob("trials/*/trial.json")
    damage(file, lambda content: put(content, place, value))
    with pytest.raises(DataError, match=words) as refused:
        TrialRecord.read(file)
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c["entrants"].append(c["entrants"][0]), "the key entrants names a twice"),
        (lambda c: c["trials"].append(c["trials"][0]), "the key trials names [0-9a-f]{16} twice"),
        (
            lambda c: c["trials"].append({**c["trials"][0], "id": "0123456789abcdef"}),
            "the key trials names a, fold 0, seed 0 twice",
        ),
        (lambda c: c.update(protocol="kits21"), "the key protocols lacks kits21"),
    ],
)
def test_an_experiment_that_contradicts_itself_is_refused(workdir, spoil, words):
    file = experiment_of(workdir)
    damage(file, spoil)
    with pytest.raises(DataError, match=words) as refused:
        ExperimentRecord.read(file)
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"mood\\n\\u202e": 1', r"the key mood \\u202e is not known"),
        (f'"{"x" * 5000}": 1', r"the key x+\.\.\.x+ is not known"),
        ('"mood": "\\ud800"', "half of a character"),
        (f'"mood": {"[" * 300}{"]" * 300}', "nested too deep"),
    ],
)
def test_whatever_the_characters_of_a_file_two_lines_tell(workdir, text, words):
    file = next(workdir.glob("trials/*/status.json"))
    file.write_text(file.read_text(encoding="utf-8").replace("{", "{" + text + ",", 1))
    with pytest.raises(DataError, match=words) as refused:
        Status.read(file)
    message = str(refused.value)
    assert len(message.splitlines()) == 2
    assert message.replace("\n", "").isprintable()
    assert len(message) < 600
