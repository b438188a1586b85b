"""Names of a plugin's parts become keys and names of files: one rule refuses what cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
from architectures import Smallest

from kitsbench import conformance, naming
from kitsbench.architecture import Channel, Grid, Head, Input, Key, Map, Stage
from kitsbench.errors import ContractError
from kitsbench.registry.plugins_apart import check_spec

ODD = ["../../x", "a/b", "a\\b", "", " ", ".", "..", "x.", " x", "x ", "a:b", "a\nb", "a\u202eb"]
ODD += ["what?", "a*b", "<a>", 'a"b', "a|b", "x" * 61, 7, None]
MAKERS = {
    "grid": lambda name: Grid(name, (8, 8, 8)),
    "head": lambda name: Head(name, "softmax", ((0,), (1,)), (8, 8, 8)),
    "map": lambda name: Map(name, (8, 8, 8)),
    "channel": lambda name: Channel(name),
    "input": lambda name: Input(name),
    "stage": lambda name: Stage(name),
}


@pytest.mark.parametrize("what", MAKERS)
def test_odd_names_are_refused(what):
    for name in ODD:
        with pytest.raises(ContractError, match=f"is no name of an? {what}: use up to 60 "):
            MAKERS[what](name)
    for name in ("image", "late phase (portal)", "scale1.coarse", "größe", "a-b", "7"):
        assert MAKERS[what](name).name == name


class OddMap(Smallest):
    def spec(self, config, task):
        return replace(super().spec(config, task), maps=(Map("../../x", (16, 16, 16)),))


class OneFile(Smallest):
    """Two maps that one file would hold."""

    def spec(self, config, task):
        spec = super().spec(config, task)
        maps = tuple(Map(name, spec.grids[0].shape) for name in ("late phase", "Late-phase"))
        return replace(spec, maps=maps)


class OddKey(Smallest):
    keys = {"a=b": Key(1)}  # noqa: RUF012


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        (OddMap, "spec is data", "'../../x' is no name of a map: use up to 60"),
        (OneFile, "grids and heads fit", "'Late-phase' has the name of another map or head"),
        (OddKey, "loads", "'a=b' is no name of a configuration key"),
    ],
)
def test_the_check_finds_them(kind, name, told):
    outcome = next(c for c in conformance.checks(kind) if c.name == name).outcome()
    assert not outcome.passed
    assert told in outcome.message


def test_a_run_refuses_them_as_well():
    from kitsbench.architecture import Task, configure

    with pytest.raises(ContractError, match="'Late-phase' has the name of another"):
        check_spec(OneFile().spec(configure(OneFile()), Task()))


def test_names_that_share_a_file_are_one():
    assert naming.twice(["a", "b"]) is None
    assert naming.twice(["Tumour", "tumour"]) == "tumour"
    assert naming.twice(["a b", "a-b"]) == "a-b"
