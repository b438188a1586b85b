"""What the statistics say about an experiment, in the order in which a report needs it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.errors import KitsbenchError
from kitsbench.experiments.compared import before_looks
from kitsbench.experiments.records import ElsewhereRecord
from kitsbench.experiments.results import Results
from kitsbench.metrics import find
from kitsbench.reporting import words
from kitsbench.reporting.asked.narrowing import Narrowed
from kitsbench.statistics import summarise
from kitsbench.statistics.compare.verdicts import FAILURES_WITHOUT_VERDICT
from kitsbench.statistics.design.power import detectable_gaps
from kitsbench.statistics.design.scope import of_a_split
from kitsbench.statistics.table.endpoints import margin_of, parse_endpoint


@dataclass(frozen=True)
class Analysis:
    """An experiment with its statistics.

    Attributes
    ----------
    results : Results
        What the trials left.
    protocol, region, metric : str
        The declared endpoint.
    comparison : dict
        As in the JSON of ``kitsbench compare``; empty where nothing can be compared.
    obstacle : str
        Why nothing can be compared; empty otherwise.
    summary : DataFrame
        Mean, SD over folds and 95 % CI, for every protocol, architecture, region and metric.
    narrowed : Narrowed or None
        How this differs from what the whole experiment gives.
    """

    results: Results
    protocol: str
    region: str
    metric: str
    comparison: dict[str, Any] = field(default_factory=dict)
    obstacle: str = ""
    summary: pd.DataFrame = field(default_factory=pd.DataFrame)
    narrowed: Narrowed | None = None

    @property
    def baseline(self) -> str | None:
        """The one that all others are compared with; None where all pairs are compared."""
        asked = None if self.narrowed is None else self.narrowed.asked.baseline
        until = self.results.experiment.until
        if until is not None and until.question == "baseline":
            return asked or until.named
        return asked

    @property
    def names(self) -> list[str]:
        """Display names of the entrants in the order of the experiment."""
        return [entrant.name for entrant in self.results.experiment.entrants]

    @property
    def scored(self) -> list[str]:
        """Architectures with scores, best first as far as they are ranked."""
        ranked = [str(row["architecture"]) for row in self.ranking]
        met = dict.fromkeys(self.results.scores["architecture"])
        return [*ranked, *(name for name in self.names if name in met and name not in ranked)]

    @property
    def ranking(self) -> list[dict[str, Any]]:
        """Rows of the ranking, best first."""
        return sorted(self.comparison.get("ranking", []), key=lambda row: row["rank"])

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """Pairs of the endpoint."""
        return list(self.comparison.get("pairs", []))

    @property
    def secondary(self) -> list[dict[str, Any]]:
        """Pairs of all other endpoints: exploratory."""
        return list(self.comparison.get("secondary", []))

    @property
    def warnings(self) -> list[str]:
        """What the statistics want a reader to know."""
        folds = self.results.experiment.folds.count
        return [of_a_split(str(told), folds) for told in self.comparison.get("warnings", [])]

    @property
    def advice(self) -> str:
        """What to run for a verdict; empty where every pair has one."""
        folds = self.results.experiment.folds.count
        return of_a_split(str(self.comparison.get("advice") or ""), folds)

    @property
    def scope(self) -> str:
        """``L0``, ``L1`` or ``L2``; empty without a comparison."""
        return str(self.comparison.get("scope") or "")

    @property
    def settled(self) -> int:
        """Pairs whose design allows a verdict on the architectures."""
        return sum(pair["scope"] != "L0" for pair in self.pairs)

    @cached_property
    def gap(self) -> float | None:
        """The largest gap between the first and another that this design would find.

        By 80 % power, at the level at which the smallest p-value of all pairs is judged: a gap of
        one comparison by itself promises more than a family of them keeps. Who learned nothing,
        or failed too often for a verdict, is left out. None where no pair of the first can get a
        verdict, and where looks decided how much was run.
        """
        if not self.ranking or self.results.experiment.until is not None:
            return None
        first = self.ranking[0]["architecture"]
        silent = {*self.not_learned} | {
            str(row["architecture"])
            for row in self.ranking
            if (row.get("failure_rate") or 0) > FAILURES_WITHOUT_VERDICT
        }
        gaps = [gap for pair, gap in zip(self.pairs, self.gaps, strict=True)
                if gap is not None and first in (pair["a"], pair["b"])
                and silent.isdisjoint((pair["a"], pair["b"]))]  # fmt: skip
        return max(gaps, default=None)

    @property
    def finds_nothing(self) -> bool:
        """Whether the gap is one that the metric cannot have, so that no difference is found."""
        facts = find(self.metric)
        if self.gap is None or facts.low is None or facts.high is None:
            return False
        return self.gap > facts.high - facts.low

    @cached_property
    def gaps(self) -> list[float | None]:
        """Of each pair, the gap that it would find beside all others; None without a verdict."""
        if any("look" in pair for pair in self.pairs):  # of a fixed design, which this is not
            return [None] * len(self.pairs)
        judged = [pair.get("p_adjusted") is not None for pair in self.pairs]
        level = float(self.comparison.get("alpha") or 0.05) / max(sum(judged), 1)
        errors = [[pair["se"], pair["df"]] if own else [None, None]
                  for pair, own in zip(self.pairs, judged, strict=True)]  # fmt: skip
        if not errors:
            return []
        table = np.array(errors, dtype=float)
        found = detectable_gaps(table[:, 0], table[:, 1], level)
        return [float(gap) if math.isfinite(gap) else None for gap in found]

    @property
    def nothing_to_find(self) -> bool:
        """Whether no test case has the region, so that there is no mean of its endpoint."""
        table = self.summary
        if table.empty:
            return False
        found = table[
            (table["protocol"] == self.protocol)
            & (table["region"] == self.region)
            & (table["metric"] == self.metric)
        ]
        absent = (found["n_gt_positive"] == 0) & found["mean"].isna()
        return bool(len(found) and absent.all())

    @property
    def not_learned(self) -> list[str]:
        """Architectures that score no better than an empty prediction."""
        return [str(name) for name in self.comparison.get("not_learned", [])]

    @property
    def margin(self) -> float | None:
        """Margin of the endpoint as the experiment fixed it; None where it has none."""
        if not self.comparison:  # as it was fixed before anything could be compared
            return margin_of(parse_endpoint(f"{self.region}:{self.metric}"), None)
        value = self.comparison.get("margin")
        return None if value is None else float(value)

    @property
    def left_out(self) -> list[str]:
        """Who has scores and no rank, since no fold is shared with the others."""
        return [str(name) for name in self.comparison.get("left_out", [])]

    @property
    def elsewhere(self) -> dict[str, ElsewhereRecord]:
        """Entrants that were trained elsewhere, by their names."""
        return self.results.elsewhere

    @property
    def apart(self) -> dict[str, ElsewhereRecord]:
        """Those of them that get no rank and no verdict, since they may know the test scans."""
        return self.results.apart

    @property
    def planted(self) -> dict[str, str]:
        """Controls whose outcome is known before, by their names, and what each is."""
        entrants = self.results.experiment.entrants
        return {entrant.name: entrant.planted for entrant in entrants if entrant.planted}

    @cached_property
    def seeds(self) -> tuple[int, int]:
        """Training runs of each fold: the fewest and the most of whoever was trained here.

        They differ where looks decided who goes on.
        """
        experiment = self.results.experiment
        counted: dict[str, set[int]] = {}
        for trial in self.results.trials:
            if experiment.until is not None and trial.counts and trial.name not in self.elsewhere:
                counted.setdefault(trial.name, set()).add(trial.seed)
        numbers = [len(seeds) for seeds in counted.values()] or [experiment.seeds]
        return min(numbers), max(numbers)

    @property
    def seeds_told(self) -> str:
        """The same in words, such as ``3 seeds`` or ``2 to 5 seeds``."""
        low, high = self.seeds
        return words.plural(high, "seed") if low == high else f"{low} to {high} seeds"

    @property
    def averaged(self) -> str:
        """Over what a mean of the endpoint is taken: ``cases and seeds``, or ``cases`` of one."""
        return "cases and seeds" if self.seeds[1] > 1 else "cases"

    @property
    def each_case(self) -> str:
        """How a case has one value, with a comma before it; empty where each was trained once."""
        return ", averaged over seeds" if self.seeds[1] > 1 else ""

    @cached_property
    def runs(self) -> tuple[int, int]:
        """Runs whose scores are in the ranking, over all folds: the fewest and the most of anybody.

        They differ where looks decided who goes on, and while a run has not finished.
        """
        counted = {str(row["architecture"]): 0 for row in self.ranking}
        for trial in self.results.trials:
            if trial.name in counted and trial.state in ("finished", "failed"):
                counted[trial.name] += 1
        here = [number for name, number in counted.items() if name not in self.elsewhere]
        design = len(self.results.experiment.folds.used) * self.results.experiment.seeds
        numbers = here or [design]
        return min(numbers), max(numbers)

    def role(self, name: str) -> str:
        """What an architecture is beside trained by itself, in a few words; empty if nothing."""
        experiment = self.results.experiment
        entrant = experiment.entrant(name)
        if entrant is None:
            return ""
        if entrant.elsewhere is not None:
            return f"{entrant.elsewhere.told()}; no budget"
        if entrant.planted:
            return f"planted: {entrant.planted}"
        if entrant.tta is not None:
            return f"networks of {name.rpartition('+')[0]}"
        if entrant.members:
            return f"ensemble: {entrant.combine} of {words.listing(list(entrant.members), most=5)}"
        if not entrant.asked:
            users = [other.name for other in experiment.entrants if name in other.members]
            return f"trained as a member of {words.listing(users)} only"
        return ""

    def row(self, protocol: str, architecture: str, region: str, metric: str) -> dict[str, Any]:
        """One row of the summary as a dict; empty where there is none."""
        table = self.summary
        if table.empty:
            return {}
        found = table[
            (table["protocol"] == protocol)
            & (table["architecture"] == architecture)
            & (table["region"] == region)
            & (table["metric"] == metric)
        ]
        return {} if found.empty else dict(found.iloc[0])


def analyse(results: Results, narrowed: Narrowed | None = None) -> Analysis:
    """Run the statistics of a report.

    Parameters
    ----------
    results : Results
        From :func:`kitsbench.experiments.results.load_results`.
    narrowed : Narrowed, optional
        What the results were narrowed to, with the baseline and the margin.

    Returns
    -------
    Analysis
        With an obstacle in words where the scores do not allow a comparison.
    """
    experiment = results.experiment
    region, metric = experiment.endpoint.split(":")
    protocol = experiment.protocol
    scores = results.scores
    if scores.empty:
        why = "No trial has finished."
        if experiment.until is not None:
            why = before_looks(experiment)
        return Analysis(results, protocol, region, metric, obstacle=why, narrowed=narrowed)
    apart = [*results.apart]
    summary = pd.DataFrame()
    comparison: dict[str, Any] = {}
    obstacle = ""
    try:
        summary = summarise(scores)
        if len(set(scores["architecture"]) - {*apart}) < 2:
            obstacle = "Only one architecture has scores, so there is nothing to compare it with."
            if apart:
                obstacle = (
                    f"{words.listing(apart)} may know the test scans, so there is nothing to "
                    "compare: --allow-leak would do it all the same."
                )
        else:
            asked = None if narrowed is None else narrowed.asked
            comparison = results.compare(
                baseline=None if asked is None else asked.baseline,
                margin=None if asked is None else asked.margin,
            ).to_dict()
    except KitsbenchError as error:
        # Scores that break a rule of the statistics are still worth a report of all the rest.
        obstacle = str(error)
    return Analysis(results, protocol, region, metric, comparison, obstacle, summary, narrowed)
