"""Cases that depend on each other: scans of one patient, cases of one hospital."""

from __future__ import annotations

import numpy as np
import pytest
from score_tables import dice_table, long_table, plain

from kitsbench.statistics import compare


def twins(patients=20, seeds=3, folds=5):
    """Two scans of every patient, the second a near copy of the first."""
    rng = np.random.default_rng(5)
    shape = (2, patients, 1)
    first = 0.7 + rng.normal(0, 0.1, (1, patients, 1)) + rng.normal(0, 0.05, shape)
    scans = np.repeat(first, 2, axis=1) + rng.normal(0, 0.01, (2, 2 * patients, seeds))
    fold = np.repeat(np.arange(patients) % folds, 2)
    table = long_table(scans.clip(0, 1), fold)
    number = table["case"].str[-5:].astype(int)
    return table.assign(patient="p" + (number // 2).astype(str))


def test_two_scans_of_a_patient_count_as_one():
    table = twins()
    alone = compare(table.drop(columns="patient")).pairs[0]
    together = compare(table).pairs[0]
    assert together["difference"] == pytest.approx(alone["difference"])
    # Forty scans of which every second repeats the other tell as much as twenty.
    assert together["se"] / alone["se"] == pytest.approx(2**0.5, rel=0.1)
    assert together["df"] < alone["df"]
    half = table[table["case"].str[-1].astype(int) % 2 == 0].drop(columns="patient")
    assert together["se"] == pytest.approx(compare(half).pairs[0]["se"], rel=0.1)


def test_each_case_its_own_cluster_changes_nothing():
    table = dice_table(3)
    usual, named = plain(compare(table)), plain(compare(table.assign(patient=table["case"])))
    assert named == usual


def test_hospitals_that_lie_in_several_folds():
    table = dice_table(2, 5, 12, 2)
    number = table["case"].str[-5:].astype(int)
    hospital = "h" + (number % 10).astype(str)
    rng = np.random.default_rng(0)
    favours = dict(zip(sorted(set(hospital)), rng.normal(0, 0.1, 10), strict=True))
    table["value"] += hospital.map(favours) * (table["architecture"] == "arch0")
    table = table.assign(hospital=hospital, value=table["value"].clip(0, 1))
    usual = compare(table).pairs[0]
    found = compare(table, cluster="hospital").pairs[0]
    assert found["difference"] == pytest.approx(usual["difference"])
    assert found["se"] > 1.5 * usual["se"]
    assert found["df"] < 10


def test_a_few_hospitals_allow_no_verdict():
    table = dice_table(2, 5, 12, 2, offsets=[0, 0.2])
    number = table["case"].str[-5:].astype(int)
    found = compare(table.assign(hospital=number % 3), cluster="hospital")
    assert (found.pairs[0]["better"], found.scope) == (None, "L0")
    assert "clusters are too few" in found.advice


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_of_a_mean_takes_clusters_whole(seeds):
    table = twins(seeds=seeds).assign(fold=0)
    alone = compare(table.drop(columns="patient")).ranking[0]
    together = compare(table).ranking[0]
    assert together["mean"] == pytest.approx(alone["mean"])
    wider = (together["ci_high"] - together["ci_low"]) / (alone["ci_high"] - alone["ci_low"])
    assert wider == pytest.approx(2**0.5, rel=0.1)
