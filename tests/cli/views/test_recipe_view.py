"""Recipes side by side."""

from __future__ import annotations

from kitsbench.cli.views.recipe_view import recipe_rows
from kitsbench.recipe import Group, Optimiser, Recipe, Transform


def test_each_value_is_a_row_and_what_nobody_uses_is_left_out():
    decayed = Group(names=("*.bias",), weight_decay=0.0)
    one = Recipe("one", augmentation=(Transform("noise", 0.5, (("sd", (0.0, 0.2)),)),))
    two = Recipe("two", optimiser=Optimiser("sgd", nesterov=True, groups=(decayed,)))
    rows = {name: cells for name, *cells in recipe_rows({"a": one.to_dict(), "b": two.to_dict()})}
    assert rows["optimiser.name"] == ["adamw", "sgd"]
    assert rows["optimiser.nesterov"] == ["off", "on"]
    assert rows["augmentation 1"] == ["noise, probability 0.5, sd 0, 0.2", "-"]
    # A decay of zero is what the group is for.
    assert "weight_decay 0" in rows["optimiser.groups 1"][1]
    assert not {"optimiser.amsgrad", "average", "name", "sources"} & set(rows)
    names = list(rows)
    assert names.index("optimiser.groups 1") == names.index("optimiser.nesterov") + 1
