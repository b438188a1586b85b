"""Means of five networks of nnU-Net, which needs a package that the other means do without."""

from __future__ import annotations

from typing import ClassVar

from kitsbench_plugins.five_folds.plugin import MeanOfFive
from kitsbench_plugins.nnunet.plugin import NNUNetPlain, NNUNetResEnc


class NNUNetPlainFive(MeanOfFive):
    """Mean of five folds, nnU-Net's default for test cases."""

    title = "nnU-Net (plain), mean of five folds"
    paper = NNUNetPlain.paper
    member = "nnunet_plain"
    keys: ClassVar = {**MeanOfFive.own_keys, **NNUNetPlain.keys}


class NNUNetResEncFive(MeanOfFive):
    """Mean of five folds, nnU-Net's default for test cases."""

    title = "nnU-Net (residual encoder), mean of five folds"
    paper = NNUNetResEnc.paper
    member = "nnunet_resenc"
    keys: ClassVar = {**MeanOfFive.own_keys, **NNUNetResEnc.keys}
