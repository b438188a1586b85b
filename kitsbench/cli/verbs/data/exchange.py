"""``kitsbench data export`` and ``kitsbench data split``: share cases and folds with nnU-Net."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kitsbench.cli.options import json_option, layout_option, out_option, split_option
from kitsbench.cli.output import print_json, say, tell
from kitsbench.cli.values import PATH, SplitRule

if TYPE_CHECKING:
    from kitsbench.data.datasets.dataset import Dataset
    from kitsbench.data.splits.split import Split


@click.command()
@click.argument("source", type=PATH, metavar="DATASET|STORE")
@out_option(
    "Folder to write, named as nnU-Net wants it, such as nnUNet_raw/Dataset220_KiTS.",
    required=True,
)
@split_option(
    "Split that is written beside it as splits_final.json; `none` for none.",
    default="nnunet",
    none=True,
)
@click.option("--link", is_flag=True, help="Link to the scans instead of copying them.")
@layout_option
def export(source: Path, out: Path, split: str, link: bool, layout: str | None) -> None:
    """Write a dataset or a prepared store in nnU-Net's raw format.

    The scans of a dataset stay as they are, so what nnU-Net predicts can be scored against the
    original masks. Copy splits_final.json to nnU-Net's folder of preprocessed data to train it on
    the same folds.
    """
    from kitsbench.cli.progress import counting
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.exchange.nnunet import SPLITS, export_nnunet
    from kitsbench.data.preparation.store import MANIFEST, PreparedStore

    prepared = (source / MANIFEST).is_file()
    found = PreparedStore.open(source) if prepared else open_dataset(source, layout)
    dataset = None if isinstance(found, PreparedStore) else found
    with counting("cases exported") as bar:
        written = export_nnunet(
            found,
            out,
            None if split == "none" else lambda cases: _make(split, cases, dataset),
            link,
            bar,
        )
    for case, reason in written.excluded.items():
        tell(reason, f"left out {case}")
    folds = "" if split == "none" else f", the folds in {out / SPLITS}"
    tell(f"{len(written.cases)} cases are in {out}{folds}")


@click.command()
@click.argument("dataset", type=PATH)
@click.argument("rule", type=SplitRule(), metavar="N|RULE|FILE.json")
@out_option("Write it as a splits_final.json.")
@layout_option
@json_option
def split(dataset: Path, rule: str, out: Path | None, layout: str | None, as_json: bool) -> None:
    """Split the cases of DATASET by a rule, as `kitsbench run --split` does.

    RULE is a number of folds; kfold, nnunet or stratified, with :N for N folds; the split of a
    paper (attention_vnet, msan, scau_unet, cascade_classifier); a ratio such as 90:10; or a file.
    With /N behind it the training cases of each fold are dealt out to N inner folds.
    """
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.splits.files import export_split

    opened = open_dataset(dataset, layout)
    found = _make(rule, [case.id for case in opened.cases if case.label is not None], opened)
    if as_json:
        print_json(found.to_dict())
    else:
        for fold in range(len(found.folds)):
            train, test = found.train(fold), found.test(fold)
            shown = ", ".join(test[:3]) + (" ..." if len(test) > 3 else "")
            parts = found.inner_split(fold)
            inner = "" if parts is None else f" in {len(parts.folds)} inner folds"
            say(f"fold {fold}: {len(train)} for training{inner}, {len(test)} for testing: {shown}")
        say(f"id {found.id}")
    if out is not None:
        export_split(found, out)
        tell(f"Wrote {out}")


def _make(rule: str, cases: list[str], dataset: Dataset | None) -> Split:
    from kitsbench.data.datasets.patients import check_split_patients, shows_patients
    from kitsbench.data.splits.rules import choose_rule, tumor_volumes

    if dataset is None:
        return choose_rule(rule, cases)
    if shows_patients(dataset.root):
        check_split_patients(cases)
    return choose_rule(rule, cases, lambda chosen: tumor_volumes(dataset.select(chosen)))
