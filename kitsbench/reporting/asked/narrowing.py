"""A report of some architectures, another endpoint, a baseline, another margin, some regions.

The family of pairs is then another one, and so is what the correction asks of each pair. Chosen
before the results are seen, that is a plan; chosen afterwards it is none, and the page says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kitsbench.errors import UsageError
from kitsbench.experiments.compared import other_endpoint
from kitsbench.experiments.results import Results
from kitsbench.reporting import words
from kitsbench.statistics.table.endpoints import margin_of, parse_endpoint

_MOST = 12  # names that a message lists


@dataclass(frozen=True)
class Narrowing:
    """What a user asked for; what is empty or None stays as the experiment has it.

    Attributes
    ----------
    architectures : tuple of str
        Display names; one text may hold several, joined by commas.
    endpoint : str or None
        ``region:metric``.
    baseline : str or None
        The one that all others are compared with.
    margin : float or None
        Of the endpoint.
    regions : tuple of str
        Which are shown.
    """

    architectures: tuple[str, ...] = ()
    endpoint: str | None = None
    baseline: str | None = None
    margin: float | None = None
    regions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != Narrowing()

    def options(self) -> list[str]:
        """The same as words of a command."""
        found = [word for name in self.architectures for word in ("--architectures", name)]
        found += ["--endpoint", self.endpoint] if self.endpoint else []
        found += ["--baseline", self.baseline] if self.baseline else []
        found += ["--margin", f"{self.margin:g}"] if self.margin is not None else []
        return found + [word for name in self.regions for word in ("--region", name)]


@dataclass(frozen=True)
class Narrowed:
    """How a report differs from that of the whole experiment.

    Attributes
    ----------
    asked : Narrowing
        With every name as the experiment writes it.
    changes : tuple of str
        What differs, a few words each.
    pairs, planned : int
        Pairs that are compared here, and in the report of the whole experiment.
    exploratory : bool
        Whether verdicts are other ones than those that were planned.
    """

    asked: Narrowing
    changes: tuple[str, ...]
    pairs: int
    planned: int
    exploratory: bool

    @property
    def told(self) -> str:
        """For a reader of the page."""
        text = f"Narrowed: {words.listing(list(self.changes), most=8)}."
        if not self.exploratory:
            return f"{text} Pairs and verdicts are those of the whole experiment."
        if self.pairs != self.planned:
            text += (
                f" Here {words.plural(self.pairs, 'pair')} {'is' if self.pairs == 1 else 'are'} "
                f"compared, and {self.planned} in the report of the whole experiment, so the "
                "correction asks for less."
            )
        return (
            f"{text} If this was chosen after results had been seen, its verdicts are not the "
            "planned ones: they are exploratory, and their error rate is not the one that is "
            "given. The planned ones stand in the report of the whole experiment."
        )

    @property
    def brief(self) -> str:
        """For a caption."""
        end = "; exploratory if chosen after results were seen" * self.exploratory
        return f"Narrowed: {words.listing(list(self.changes), most=8)}{end}."


def narrow(results: Results, asked: Narrowing) -> tuple[Results, Narrowed | None]:
    """Leave what was asked for.

    Parameters
    ----------
    results : Results
    asked : Narrowing

    Returns
    -------
    results : Results
        With those entrants, trials, scores and curves alone, and with that endpoint.
    narrowed : Narrowed or None
        None where nothing was left out or changed.

    Raises
    ------
    UsageError
        A name is unknown, or two wishes do not go together.
    """
    experiment, scores = results.experiment, results.scores
    names = [entrant.name for entrant in experiment.entrants]
    chosen = named(asked.architectures, names)
    if asked.baseline is not None:
        _check([asked.baseline], names, "architecture", "this experiment")
        if asked.baseline in results.apart:
            raise UsageError(
                f"{asked.baseline} cannot be the baseline, since it may know the test scans and "
                "is compared with nobody; name another."
            )
        chosen = [*chosen, *[asked.baseline] * (bool(chosen) and asked.baseline not in chosen)]
    kept = [name for name in names if not chosen or name in chosen]
    endpoint = asked.endpoint or experiment.endpoint
    if experiment.until is not None and endpoint != experiment.endpoint:
        raise UsageError(other_endpoint(experiment, endpoint))
    if endpoint != experiment.endpoint and not scores.empty:
        own = scores[scores["protocol"] == experiment.protocol]
        known = sorted({f"{r}:{m}" for r, m in own[["region", "metric"]].drop_duplicates().values})
        _check([endpoint], known, "endpoint", f"the scores by {experiment.protocol}")
    region = endpoint.split(":")[0]
    if asked.regions and not scores.empty:
        _check(asked.regions, sorted(set(scores["region"])), "region", "the scores")
        if region not in asked.regions:
            own = scores[scores["protocol"] == experiment.protocol]
            # A label by itself has scores, too, and is no endpoint of the protocol.
            fit = [name for name in asked.regions if name in set(own["region"])]
            other = f", or an endpoint such as --endpoint {fit[0]}:dice" if fit else ""
            raise UsageError(
                f"The endpoint is {endpoint}, and --region leaves out {region}. Name --region "
                f"{region} as well{other}."
            )
    whole = replace(asked, architectures=tuple(kept if len(kept) < len(names) else ()))
    left = _left(results, kept, endpoint, asked.regions)
    return left, _narrowed(results, left, whole, endpoint)


def named(asked: Sequence[str], names: Sequence[str]) -> list[str]:
    """Which entrants a user means, each once.

    Parameters
    ----------
    asked : sequence of str
        As of :class:`Narrowing`.
    names : sequence of str
        Of all entrants.

    Raises
    ------
    UsageError
        There is none of a name.
    """
    chosen = list(dict.fromkeys(name for given in asked for name in _split(given, names)))
    _check(chosen, names, "architecture", "this experiment")
    return chosen


def _split(given: str, names: Sequence[str]) -> list[str]:
    """Names that a text holds: one, or several that commas join; a name may have commas itself."""
    if given in names:
        return [given]
    found, parts = [], given.split(",")
    while parts:
        # The longest beginning that is a name.
        size = next((n for n in range(len(parts), 0, -1) if ",".join(parts[:n]) in names), 1)
        found.append(",".join(parts[:size]))
        parts = parts[size:]
    return [name.strip() for name in found if name.strip()] or [given]


def _check(given: Collection[str], known: Sequence[str], what: str, where: str) -> None:
    for name in given:
        if name in known:
            continue
        close = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        more = f" and {len(known) - _MOST} more" if len(known) > _MOST else ""
        raise UsageError(
            f"There is no {what} '{name}' in {where}.{hint} It has "
            f"{', '.join(known[:_MOST]) or 'none'}{more}."
        )


def _left(results: Results, kept: Sequence[str], endpoint: str, regions: Sequence[str]) -> Results:
    experiment, scores, curves = results.experiment, results.scores, results.curves
    entrants = tuple(entrant for entrant in experiment.entrants if entrant.name in kept)
    update: dict[str, Any] = {
        "entrants": entrants,
        "trials": tuple(trial for trial in experiment.trials if trial.name in kept),
        "endpoint": endpoint,
    }
    if experiment.tuning is not None:
        studies = tuple(s for s in experiment.tuning.studies if s.name in kept)
        update["tuning"] = experiment.tuning.model_copy(update={"studies": studies})
    scores = scores[scores["architecture"].isin(kept)]
    curves = curves[curves["architecture"].isin(kept)]
    if regions:
        scores = scores[scores["region"].isin(regions)]
        of_region = curves["name"].str.split(":").str[0].isin(regions)
        curves = curves[(curves["kind"] != "score") | of_region]
    return replace(
        results,
        # Its id stays that of the whole, which is what was run.
        experiment=experiment.model_copy(update=update),
        trials=[trial for trial in results.trials if trial.name in kept],
        scores=scores.reset_index(drop=True),
        curves=curves.reset_index(drop=True),
        profiles={name: own for name, own in results.profiles.items() if name in kept},
    )


def _narrowed(results: Results, left: Results, asked: Narrowing, endpoint: str) -> Narrowed | None:
    entrants, experiment = results.experiment.entrants, results.experiment
    usual = margin_of(parse_endpoint(endpoint), None)
    changes = []
    if asked.architectures:
        listed = words.listing(list(asked.architectures), most=4)
        changes.append(
            f"{len(asked.architectures)} of {words.plural(len(entrants), 'entrant')} ({listed})"
        )
    if endpoint != experiment.endpoint:
        changes.append(f"endpoint {endpoint} instead of {experiment.endpoint}")
    if asked.baseline is not None:
        changes.append(f"pairs with {asked.baseline} only")
    if asked.margin is not None and asked.margin != usual:
        told = "none" if usual is None else f"{usual:g}"
        changes.append(f"margin {asked.margin:g} instead of {told}")
    exploratory = bool(changes)
    measured = set(results.scores["region"])
    if asked.regions and not measured.issubset(asked.regions):
        shown = [words.region_name(name).lower() for name in asked.regions]
        changes.append(f"only the region{'s' * (len(shown) > 1)} {words.listing(shown)}")
    if not changes:
        return None
    planned, here = (_compared(one) for one in (results, left))
    pairs = here - 1 if asked.baseline is not None else here * (here - 1) // 2
    return Narrowed(asked, tuple(changes), max(pairs, 0), planned * (planned - 1) // 2, exploratory)


def _compared(results: Results) -> int:
    """How many architectures have scores and are set apart by nothing."""
    return len(set(results.scores["architecture"]) - {*results.apart})
