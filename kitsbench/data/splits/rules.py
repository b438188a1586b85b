"""Splits by name, by rule and from files: what ``--split`` understands.

All rules start from the sorted case ids, so that they depend on the cases alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kitsbench.data.datasets.patients import kits_number
from kitsbench.data.splits.files import PICKLES, import_split, refuse_pickle
from kitsbench.data.splits.split import Split, check_fold_count, make_folds, sorted_cases
from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief
from kitsbench.scans.geometry import voxel_volume
from kitsbench.scans.nifti import read_header, read_label

if TYPE_CHECKING:
    from kitsbench.data.datasets.dataset import Dataset

SEED = 12345  # nnU-Net's, so that its users find a number they know
FOLDS = 5
MSAN_TRAIN, MSAN_TEST = 180, 10  # "the first 180", "ten": ids 0-179 and 180-189

LONGEST = 40  # characters of a rule; a number of more digits is none
RULES = {
    "kfold": "shuffled, dealt out evenly; a number alone sets how many folds",
    "nnunet": "nnU-Net's own rule and seed: the splits_final.json that it writes for these cases",
    "stratified": "folds with alike tumour volumes; cases without a tumour are spread evenly too",
    "attention_vnet": "nnunet, for the 210 KiTS19 cases: five folds of 168/42",
    "msan": "KiTS19 ids 0-179 for training, 180-189 for testing, the rest unused",
    "scau_unet": "90:10, shuffled once",
    "cascade_classifier": "80:20, shuffled once",
    "A:B": "a shuffled hold-out of any ratio, such as 90:10",
    "FILE.json": "nnU-Net's splits_final.json, MONAI's list with folds, or a split of kitsbench",
    "RULE/N": "any of these, the training cases of each fold dealt out to N inner folds, for means "
    "of networks that are each trained without one; such as 80:20/5",
}
FILES = (".json", *PICKLES)


def choose_rule(
    text: str,
    cases: Iterable[str],
    volumes: Callable[[list[str]], Mapping[str, float]] | None = None,
    folds: int = FOLDS,
    seed: int = SEED,
) -> Split:
    """Make the split that a user named.

    Parameters
    ----------
    text : str
        A key of :data:`RULES`, a number of folds, ``RULE:N`` for another number of folds, a ratio
        ``A:B``, or the path of a file, each with ``/N`` for N inner folds. A rule's name goes
        before a file of that name.
    cases : iterable of str
        The cases that can be used.
    volumes : callable, optional
        Gives the tumour volume (ml) of each of a list of cases; only ``stratified`` asks.
    folds, seed : int
        Where the text does not say.

    Raises
    ------
    UsageError
        The text is none of these, or the cases are too few.
    DataError
        A file is no split, or names a case that is not there.
    """
    outer, inner = without_inner(text)
    if inner is not None:
        return choose_rule(outer, cases, volumes, folds, seed).with_inner(inner, seed)
    ordered = sorted_cases(cases)
    if text.lower().endswith(FILES):
        return import_split(Path(text).expanduser(), ordered)
    if len(text) > LONGEST:
        raise _unknown(text)
    if text.isdecimal():
        return make_folds(ordered, int(text), seed)
    name, _, rest = text.partition(":")
    if name.isdecimal() and rest.isdecimal():
        return hold_out(ordered, int(name), int(rest), seed)
    makers: dict[str, Callable[[int], Split]] = {
        "kfold": lambda count: make_folds(ordered, count, seed),
        "nnunet": lambda count: nnunet_folds(ordered, count),
        "stratified": lambda count: stratified_folds(_volumes(ordered, volumes), count, seed),
    }
    if name in makers and (not rest or rest.isdecimal()):
        return makers[name](int(rest) if rest else folds)
    fixed: dict[str, Callable[[], Split]] = {
        "attention_vnet": lambda: _attention_vnet(ordered),
        "msan": lambda: _msan(ordered),
        "scau_unet": lambda: hold_out(ordered, 90, 10, seed),
        "cascade_classifier": lambda: hold_out(ordered, 80, 20, seed),
    }
    if name in fixed and not rest:
        return fixed[name]()
    if name == "mlperf":
        raise UsageError(
            "The 42 cases that MLPerf evaluates on do not come with kitsbench. Write them as 'val' "
            "and the other cases as 'train' of the one fold of a splits_final.json, and give that "
            "file."
        )
    raise _unknown(text)


def nnunet_folds(cases: Iterable[str], folds: int = FOLDS, seed: int = SEED) -> Split:
    """Fold a dataset as nnU-Net does, so that splits can be shared with it.

    The rule is scikit-learn's ``KFold(folds, shuffle=True, random_state=seed)`` over the sorted
    ids: one shuffle, then consecutive blocks, of which the first are larger by one case where the
    number does not divide.
    """
    ordered = sorted_cases(cases)
    check_fold_count(folds, len(ordered))
    index = np.arange(len(ordered))
    # The generator is part of the rule: numpy keeps the stream of the legacy one for good.
    np.random.RandomState(seed).shuffle(index)
    blocks = np.array_split(index, folds)
    return Split(tuple(tuple(ordered[i] for i in block) for block in blocks))


def stratified_folds(volumes: Mapping[str, float], folds: int = FOLDS, seed: int = SEED) -> Split:
    """Fold a dataset so that small and large tumours are spread evenly.

    The cases are sorted by volume and cut into groups of ``folds`` neighbours; each group is dealt
    out to the folds in an order drawn for it.

    Parameters
    ----------
    volumes : mapping of str to float
        Case to tumour volume in ml; 0 for none.
    folds, seed : int
    """
    ordered = sorted_cases(volumes)
    check_fold_count(folds, len(ordered))
    by_volume = sorted(ordered, key=lambda case: (volumes[case], case))
    rng = np.random.default_rng(seed)
    dealt: list[list[str]] = [[] for _ in range(folds)]
    for first in range(0, len(by_volume), folds):
        group = by_volume[first : first + folds]
        # An incomplete last group goes to folds drawn by lot, at most one case each.
        for case, fold in zip(group, rng.permutation(folds), strict=False):
            dealt[fold].append(case)
    return Split(tuple(tuple(fold) for fold in dealt))


def hold_out(cases: Iterable[str], train: int, test: int, seed: int = SEED) -> Split:
    """Shuffle once and test the last part of the cases: one fold.

    Parameters
    ----------
    cases : iterable of str
    train, test : int
        Ratio, such as 90 and 10; the number of test cases is rounded, at least one.
    seed : int
    """
    ordered = sorted_cases(cases)
    if train < 1 or test < 1 or len(ordered) < 2:
        raise UsageError(
            f"{len(ordered)} cases cannot be split {train}:{test}; both parts need a case."
        )
    held = min(max(1, round(len(ordered) * test / (train + test))), len(ordered) - 1)
    order = np.random.default_rng(seed).permutation(len(ordered))
    shuffled = [ordered[i] for i in order]
    return Split((tuple(shuffled[-held:]),), (tuple(shuffled[:-held]),))


def _attention_vnet(cases: list[str]) -> Split:
    """Folds of Paper 000, which used nnU-Net's rule on all of KiTS19."""
    numbers = sorted(n for n in map(kits_number, cases) if n is not None and n < 210)
    if numbers != list(range(210)) or len(cases) != 210:
        raise UsageError(
            f"The split 'attention_vnet' is made of the 210 cases of KiTS19; here are {len(cases)} "
            "cases, or others. Use --split nnunet for the same rule on these."
        )
    return nnunet_folds(cases)


def _msan(cases: list[str]) -> Split:
    """Hold-out of Paper 001: by number, not by lot; other cases are in neither part."""
    numbers = {case: kits_number(case) for case in cases}
    last = MSAN_TRAIN + MSAN_TEST
    train = tuple(c for c, n in numbers.items() if n is not None and n < MSAN_TRAIN)
    test = tuple(c for c, n in numbers.items() if n is not None and MSAN_TRAIN <= n < last)
    if not train or not test:
        raise UsageError(
            "The split 'msan' trains on the KiTS19 cases 00000-00179 and tests 00180-00189; here "
            f"are {len(train)} of the first and {len(test)} of the others."
        )
    return Split((test,), (train,))


def _volumes(
    cases: list[str], volumes: Callable[[list[str]], Mapping[str, float]] | None
) -> Mapping[str, float]:
    if volumes is None:
        raise UsageError("The split 'stratified' needs the masks, to measure the tumours.")
    return volumes(cases)


def tumor_volumes(
    dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Measure the tumours of a dataset on the masks' own voxels.

    Returns
    -------
    dict of str to float
        Case to ml, so that the folds do not depend on how the cases are prepared.

    Raises
    ------
    UsageError
        The dataset has no label called tumor.
    """
    value = dataset.labels.get("tumor")
    if value is None:
        raise UsageError(
            f"{dataset.name} has no label 'tumor' but {', '.join(dataset.labels)}; "
            "the split 'stratified' goes by its volume."
        )
    found = {}
    for done, case in enumerate(dataset.cases, start=1):
        assert case.label is not None
        header = read_header(case.label, case.id)
        voxel = voxel_volume(header.affine) / 1000.0
        found[case.id] = float(np.count_nonzero(read_label(header, dataset.names) == value) * voxel)
        if progress is not None:
            progress(done, len(dataset.cases))
    return found


def without_inner(text: str) -> tuple[str, int | None]:
    """The rule of the folds, and into how many inner folds their training cases are dealt out."""
    outer, slash, count = text.rpartition("/")
    if slash and count.isdecimal() and len(count) < LONGEST and _is_plain(outer):
        return outer, int(count)
    return text, None


def is_rule(text: str) -> bool:
    """Whether a text has the form of something that :func:`choose_rule` reads."""
    return _is_plain(without_inner(text)[0])


def _is_plain(text: str) -> bool:
    """Whether it is a rule without inner folds."""
    names = "|".join(name for name in RULES if name.islower())
    return bool(
        re.fullmatch(rf"(?:{names}|mlperf)(?::\d+)?|\d+|\d+:\d+", text)
        or text.lower().endswith(FILES)
    )


def check_rule(text: str) -> None:
    """Refuse what :func:`choose_rule` would refuse of any dataset, before any data are touched.

    Raises
    ------
    UsageError
        The text has not the form of a rule, or asks for fewer than two folds.
    DataError
        It names a pickle.
    """
    outer, inner = without_inner(text)
    if inner is not None:
        if inner < 2:
            raise UsageError(f"{inner} inner folds cannot be made; use 2 or more: {outer}/5.")
        text = outer
    if not is_rule(text) or (len(text) > LONGEST and not text.lower().endswith(FILES)):
        raise _unknown(text)
    if text.lower().endswith(PICKLES):
        refuse_pickle(Path(text))
    if text.isdecimal() and int(text) < 2:
        raise UsageError(f"A split of {text} folds cannot be made; use 2 or more.")


def _unknown(text: str) -> UsageError:
    return UsageError(
        f"The split '{brief(text)}' is not known. Use a number of folds, {', '.join(RULES)}; "
        "`kitsbench data split --help` says more."
    )
