"""Sizes of cases are measured once, as the label maps have them, and made anew where damaged."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.errors import DataError
from kitsbench.experiments.case_sizes import keep_case_sizes
from kitsbench.experiments.records import CasesRecord


def test_they_are_those_of_the_label_maps_and_measured_once(phantom, tmp_path):
    dataset = open_dataset(phantom)
    done = []
    found = keep_case_sizes(tmp_path, dataset, lambda *counted: done.append(counted))
    assert list(found.cases) == [case.id for case in dataset.cases]
    assert done == [(n, 6) for n in range(1, 7)]
    for case in dataset.cases:
        image = nibabel.load(case.label)
        millilitres = abs(np.linalg.det(image.affine[:3, :3])) / 1000
        for name, value in dataset.labels.items():
            counted = np.count_nonzero(np.asarray(image.dataobj) == value)
            own = found.cases[case.id].volumes_ml[name]
            assert own == pytest.approx(counted * millilitres, abs=1e-3)
    again = keep_case_sizes(tmp_path, dataset, lambda *counted: done.append(counted))
    assert (again, len(done)) == (found, 6)


def test_a_damaged_file_is_refused_by_readers_and_made_anew_by_a_run(phantom, tmp_path):
    dataset = open_dataset(phantom)
    found = keep_case_sizes(tmp_path, dataset)
    file = CasesRecord.file(tmp_path, dataset.fingerprint)
    for damage in ("{", file.read_text().replace(dataset.fingerprint, "another")):
        file.write_text(damage)
        with pytest.raises(DataError, match="Delete it: the next run measures again"):
            CasesRecord.find(tmp_path, dataset.fingerprint)
        assert keep_case_sizes(tmp_path, dataset) == found
        assert CasesRecord.find(tmp_path, dataset.fingerprint) == found


def test_what_could_not_be_read_once_is_measured_again(phantom, tmp_path):
    dataset = open_dataset(phantom)
    whole = keep_case_sizes(tmp_path, dataset)
    left = {case: size for case, size in whole.cases.items() if case != "case_00003"}
    file = CasesRecord.file(tmp_path, dataset.fingerprint)
    whole.model_copy(update={"cases": left}).write(file)
    assert keep_case_sizes(tmp_path, dataset) == whole == CasesRecord.read(file)


def test_where_nothing_can_be_written_a_run_is_reported_all_the_same(phantom, tmp_path):
    (tmp_path / "cases").write_text("a file where the folder would be")
    assert keep_case_sizes(tmp_path, open_dataset(phantom)) is None
