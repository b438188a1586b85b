"""With what architectures write their specs: the plain one, and labels that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kitsbench.configuration import Setting
from kitsbench.errors import LabelsError
from kitsbench.spec import Grid, Head, Labels, Shape, SizeRule, Spec, Task


def softmax_spec(
    config: Mapping[str, Setting],
    task: Task,
    size_rule: SizeRule,
    paper_patch: Shape,
    **fields: Any,
) -> Spec:
    """Spec of a plain network: one grid ``image``, one softmax head ``segmentation``."""
    patch, output = size_rule.nearest(task.patch or paper_patch)
    channels = ((0,), *((value,) for _, value in task.labels))
    return Spec(
        config=tuple(config.items()),
        labels=task.labels,
        grids=(Grid("image", patch),),
        heads=(Head("segmentation", "softmax", channels, output),),
        size_rule=size_rule,
        **fields,
    )


def require_labels(labels: Labels, names: Sequence[str], remedy: str) -> dict[str, int]:
    """Values of labels that an architecture cannot do without.

    Parameters
    ----------
    labels : tuple of (str, int)
        The task's.
    names : sequence of str
        Labels that are needed.
    remedy : str
        What to do where one is missing, such as which key to set.

    Returns
    -------
    dict
        {name: value} of the needed labels.

    Raises
    ------
    LabelsError
        One is missing. The architecture then is a row that says so, and nothing of it is trained.
    """
    known = dict(labels)
    lacking = [name for name in names if name not in known]
    if lacking:
        raise LabelsError(
            f"the labels are {', '.join(known)}, and none is called "
            f"{' or '.join(lacking)}: {remedy}"
        )
    return {name: known[name] for name in names}
