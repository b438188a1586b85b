"""Tables of scores: the ranking, every region, and the pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kitsbench.evaluation.protocols import get_protocol
from kitsbench.metrics import METRICS
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.tables import Table
from kitsbench.statistics.table.endpoints import cut


def ranking(analysis: Analysis) -> Table | None:
    """Who comes where, and who cannot be told apart."""
    if not analysis.ranking:
        return None
    # What holds for no row of the design has no column.
    places = any(not words.missing(row.get("rank_low")) for row in analysis.ranking)
    drawn = any(not words.missing(row.get("p_first")) for row in analysis.ranking)
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    # A phone has room for the first three columns.
    head = ["Rank", "Architecture", f"Mean {endpoint}", "95 % CI"]
    letters = {row.get("group") for row in analysis.ranking}
    # One letter for all is said once, below.
    grouped = len(letters) > 1
    official = _official(analysis)
    head += ["Official KiTS rank"] * bool(official)
    place = (analysis.protocol, analysis.region, analysis.metric)
    spread = {name: _seed_spread(analysis, name, *place) for name in analysis.scored}
    seeds = any(value is not None for value in spread.values())
    head += ["Group"] * grouped + ["Rank 95 %"] * places + ["P(first)"] * drawn
    head += ["SD over seeds"] * seeds + ["Parameters", "Device time, all runs", "Trials"]
    rows = []
    for row in analysis.ranking:
        name = str(row["architecture"])
        cells = [
            f"{row['rank']:g}",
            f"{name}\n{title_of(analysis, name)}".rstrip("\n"),
            words.number(row["mean"]),
            interval_of_mean({**row, "metric": analysis.metric}),
        ]
        cells += [official.get(name, words.DASH)] * bool(official)
        cells += [str(row.get("group") or words.DASH)] * grouped
        cells += [_range(row.get("rank_low"), row.get("rank_high"))] * places
        cells += [words.percent(row.get("p_first"))] * drawn
        cells += [words.number(spread[name], 4)] * seeds
        rows.append([*cells, *_spent(analysis, name), _trials(analysis, name)])
    caption = f"Ranked by the mean {endpoint} over {analysis.averaged}."
    if grouped:
        caption += " Architectures that share a letter are not separated."
    elif letters != {None}:
        caption += " No two architectures are separated: all share one group."
    if places:
        caption += " Rank 95 %: the ranks that the tests of all pairs leave open."
    caption += _official_caption(analysis)
    if advice := analysis.advice:
        none = "An architecture without a verdict has no group" if analysis.settled else (
            "Without a verdict on architectures there are no groups"
        )  # fmt: skip
        caption += f" {none}. {advice}"
    links = {row[-1]: "#trials" for row in rows}
    return Table(head, rows, caption, text_columns=2, links=links, beneath=3)


def _seed_spread(
    analysis: Analysis, name: str, protocol: str, region: str, metric: str
) -> float | None:
    """Standard deviation between seeds of the mean of a fold, pooled over folds."""
    scores = analysis.results.scores
    own = scores[
        (scores["architecture"] == name)
        & (scores["protocol"] == protocol)
        & (scores["region"] == region)
        & (scores["metric"] == metric)
    ]
    means = own.groupby(["fold", "seed"])["value"].mean()
    variances = means.groupby("fold").var(ddof=1).dropna()
    return float(variances.mean() ** 0.5) if len(variances) else None


def _spent(analysis: Analysis, name: str) -> list[str]:
    """Parameters, and device time of all its runs; of an ensemble with its members' own."""
    experiment = analysis.results.experiment
    entrant = experiment.entrant(name)
    names = {name} if entrant is None or not entrant.members else {*entrant.members}
    times = [
        trial.ledger.device_seconds
        for trial in analysis.results.trials
        if trial.name in names
        and trial.ledger is not None
        and trial.trained
        and trial.state != "held"  # it is in no number yet
    ]
    sizes = [found.parameters for found in experiment.entrants if found.name in names]
    known = [size for size in sizes if size]
    total = sum(known) if known and len(known) == len(sizes) else None
    return [words.big(total), words.duration(sum(times)) if times else words.DASH]


def _official(analysis: Analysis) -> dict[str, str]:
    """The place of each by the challenge's rule, with what it ranks; empty where it has none."""
    rows = (analysis.comparison.get("official") or {}).get("rows", [])
    return {
        str(row["architecture"]): f"{row['rank']}\n"
        + words.number(row.get("composite", row.get("mean_rank")))
        for row in rows
    }


def _official_caption(analysis: Analysis) -> str:
    found = analysis.comparison.get("official")
    if not found:
        return ""
    places = {str(row["architecture"]): row["rank"] for row in found["rows"]}
    moved = sum(places.get(str(row["architecture"])) != row["rank"] for row in analysis.ranking)
    rule = words.with_regions(str(found["rule"]))
    here = (
        f"here it places {moved} of {len(analysis.ranking)} otherwise"
        if moved
        else "here both agree"
    )
    return (
        f" Official KiTS rank: by the {rule}, without a test. It counts more than the endpoint, so "
        f"the order may differ; {here}."
    )


def apart(analysis: Analysis) -> Table | None:
    """Who is shown without a rank, with the score and the reason; None where nobody is."""
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    rows = []
    for name, known in analysis.apart.items():
        row = analysis.row(analysis.protocol, name, analysis.region, analysis.metric)
        mean = words.number(row.get("mean")) if row else words.DASH
        rows.append([f"{name}\n{title_of(analysis, name)}", str(known.leak), mean])
    head = ["Entrant", "Why it is set apart", f"Mean {endpoint}"]
    caption = (
        "A score on a scan that was trained on says nothing about new scans. Such entrants are in "
        "no ranking and no comparison of pairs, unless the run says --allow-leak."
    )
    return Table(head, rows, caption, text_columns=2) if rows else None


@dataclass(frozen=True)
class ScoredRegion:
    """A region of the protocol, or a label by itself, whose scores are shown.

    Attributes
    ----------
    protocol, name : str
    heading, meaning : str
        For people: what it is called, and which labels it holds.
    metrics : list of str
        In the order of tables.
    """

    protocol: str
    name: str
    heading: str
    meaning: str
    metrics: list[str]


def regions_of(analysis: Analysis) -> list[ScoredRegion]:
    """Every region of the protocol and every label by itself.

    Left out are labels that the dataset does not have, and a label that is the same as a region
    scored before, since its numbers would be the same.
    """
    labels = analysis.results.experiment.dataset.labels
    scores = analysis.results.scores
    found = []
    seen: set[str] = set()
    protocols = sorted(set(scores["protocol"]), key=lambda name: name != analysis.protocol)
    for protocol in protocols:
        part = scores[scores["protocol"] == protocol]
        for region in dict.fromkeys(part["region"]):
            meaning = words.region_meaning(protocol, region, labels)
            if not meaning or (meaning in seen and protocol == "labels"):
                continue
            seen.add(meaning)
            heading = words.region_name(region)
            heading += " alone" if protocol == "labels" and analysis.protocol != "labels" else ""
            metrics = _metrics(analysis, protocol, region)
            found.append(ScoredRegion(protocol, region, heading, meaning, metrics))
    return found


def _metrics(analysis: Analysis, protocol: str, region: str) -> list[str]:
    table = analysis.summary
    measured = (
        set()
        if table.empty
        else set(table[(table["protocol"] == protocol) & (table["region"] == region)]["metric"])
    )
    return [m for m in METRICS if m in measured or m in get_protocol(protocol).metrics]


def region_tables(analysis: Analysis) -> list[tuple[str, Table]]:
    """One table for each of :func:`regions_of`: heading and table."""
    return [(region.heading, _region_table(analysis, region)) for region in regions_of(analysis)]


def _region_table(analysis: Analysis, region: ScoredRegion) -> Table:
    metrics = region.metrics
    rows, seeds = [], analysis.results.experiment.seeds > 1
    for name in analysis.scored:
        found = {m: analysis.row(region.protocol, name, region.name, m) for m in metrics}
        between = _seed_spread(analysis, name, region.protocol, region.name, "dice")
        spread = [words.number(between, 4)] * seeds
        dice = found["dice"]
        undefined = max(int(row.get("n_undefined") or 0) for row in found.values())
        rows.append(
            [
                name,
                *(_score(found[metric]) for metric in metrics),
                *spread,
                _count(dice.get("n_cases")),
                f"{_count(dice.get('n_folds'))} × {_count(dice.get('n_seeds'))}",
                f"{undefined} / {_count(dice.get('n_failed'))}",
            ]
        )
    head = ["Architecture", *map(words.metric_name, metrics)]
    head += ["Dice, SD over seeds"] * seeds + ["Cases", "Folds × seeds", "Undefined / failed"]
    cells = [cell for row in rows for cell in row[1 : 1 + len(metrics)]]
    mean = "Mean ± SD over folds" if any("±" in cell for cell in cells) else "Mean"
    below = ", 95 % CI below" if any("\n" in cell for cell in cells) else ""
    caption = f"Labels: {region.meaning}; protocol {region.protocol}. {mean}{below}."
    return Table(head, rows, caption)


def interval_of_mean(row: dict[str, Any]) -> str:
    """The interval of a mean, cut where its metric ends."""
    low: Any = row.get("ci_low")
    high: Any = row.get("ci_high")
    if not words.missing(low) and not words.missing(high):
        low, high = cut(float(low), float(high), str(row.get("metric")))
    return words.interval(low, high)


def _score(row: dict[str, Any]) -> str:
    if words.missing(row.get("mean")):
        return words.DASH
    text = words.number(row["mean"])
    if not words.missing(row.get("sd_over_folds")):
        text += f" ± {words.number(row['sd_over_folds'])}"
    span = interval_of_mean(row)
    return text if span == words.DASH else f"{text}\n{span}"


def pair_table(analysis: Analysis) -> Table:
    """Every pair of the endpoint with everything a reviewer asks for."""
    rows = [
        [
            f"{pair['a']} − {pair['b']}",
            words.verdict_name(pair),
            words.number(pair["difference"], signed=True),
            words.interval(
                pair.get("ci_simultaneous_low"), pair.get("ci_simultaneous_high"), signed=True
            ),
            words.probability(pair.get("p_adjusted")),
            words.probability(pair.get("p_exceeds_margin")),
            words.probability(pair.get("p_equivalence")),
            words.number(gap),
            words.probability(pair.get("p_nadeau_bengio")),
            f"{_count(pair.get('win'))}/{_count(pair.get('tie'))}/{_count(pair.get('loss'))}",
            words.number(pair.get("rank_biserial"), 2, signed=True),
            _posterior(pair),
            _count(pair.get("n_cases")),
        ]
        for pair, gap in zip(analysis.pairs, analysis.gaps, strict=True)
    ]
    head = [
        "Pair",
        "Verdict",
        "Difference",
        "95 % CI, all pairs",
        "p (differs)",
        "p (exceeds margin)",
        "p (within margin)",
        "Gap that would be seen",
        "p (Nadeau-Bengio)",
        "Win/tie/loss",
        "Rank-biserial",
        "Posterior: first, alike, second",
        "Cases",
    ]
    # What no pair of the design has would be a column of dashes.
    kept = [i for i in range(len(head)) if i < 4 or any(row[i] != words.DASH for row in rows)]
    found = {head[i] for i in kept}
    test = analysis.comparison.get("test", "")
    caption = f"Endpoint {words.endpoint_name(analysis.region, analysis.metric)}, test {test}"
    judged = sum(pair.get("p_adjusted") is not None for pair in analysis.pairs)
    if judged:
        correction = str(analysis.comparison.get("correction", "")).capitalize()
        caption += (
            f", correction {correction} over {words.plural(judged, 'pair')}. The intervals of all "
            "pairs hold together, and the p-values of differing, exceeding and lying within the "
            "margin are adjusted for the number of pairs."
        )
    else:
        caption += (
            ", each pair by itself and without correction, for these trained networks only (scope "
            f"L0). {words.no_p(analysis.pairs)}"
        )
        head[3] = "95 % CI"
    caption += " Win/tie/loss counts cases."
    if "Rank-biserial" in found:
        caption += (
            " Rank-biserial: the ranks of the cases that favour the first less those that favour "
            "the second, as a share of all, from −1 to 1."
        )
    if "p (Nadeau-Bengio)" in found:
        caption += (
            " Nadeau-Bengio: would the difference also hold for other training sets (not adjusted)."
        )
    if "Posterior: first, alike, second" in found:
        caption += (
            " Posterior: how probable it is that the first is better, that both lie within the "
            "margin, that the second is better (Bayesian, a check beside the tests)."
        )
    rows = [[row[i] for i in kept] for row in rows]
    return Table([head[i] for i in kept], rows, caption, text_columns=2)


def _posterior(pair: dict[str, Any]) -> str:
    """Three probabilities; a dash where there are none."""
    keys = ("posterior_a_better", "posterior_equivalent", "posterior_b_better")
    values = [pair.get(key) for key in keys]
    if any(words.missing(value) for value in values):
        return words.DASH
    return " / ".join(words.number(value, 2) for value in values)


def secondary_table(analysis: Analysis) -> Table | None:
    """Pairs of all other regions and metrics: exploratory, hence without verdicts."""
    if not analysis.secondary:
        return None
    rows = [
        [
            f"{pair['a']} − {pair['b']}",
            words.endpoint_name(pair["region"], pair["metric"]),
            words.number(pair["difference"], signed=True),
            words.interval(pair.get("ci_low"), pair.get("ci_high"), signed=True),
            words.probability(pair.get("p_adjusted")),
        ]
        for pair in analysis.secondary
    ]
    head = ["Pair", "Endpoint", "Difference", "95 % CI", "p (adjusted)"]
    if all(row[-1] == words.DASH for row in rows):
        rows, head = [row[:-1] for row in rows], head[:-1]
        caption = (
            "Secondary endpoints, exploratory: no verdict is given, and no p-value, for the same "
            "reason as none is of the endpoint."
        )
    else:
        caption = (
            "Secondary endpoints, exploratory: p is adjusted by Benjamini-Hochberg, and no verdict "
            "is given."
        )
    return Table(head, rows, caption, text_columns=2)


def title_of(analysis: Analysis, name: str) -> str:
    """The full title of an entrant, and what it is beside trained by itself; may be empty."""
    entrant = analysis.results.experiment.entrant(name)
    title = "" if entrant is None else entrant.title
    return "; ".join(filter(None, [title, analysis.role(name)]))


def trials_done(analysis: Analysis, name: str) -> tuple[int, int]:
    """How many trials of an entrant have finished, and how many it has."""
    own = [trial for trial in analysis.results.trials if trial.name == name]
    own = [trial for trial in own if trial.state != "spared"]
    return sum(trial.state == "finished" for trial in own), len(own)


def _trials(analysis: Analysis, name: str) -> str:
    done, every = trials_done(analysis, name)
    failed = sum(t.state == "failed" for t in analysis.results.trials if t.name == name)
    return f"{done}/{every}" + (f", {failed} failed" if failed else "")


def _range(low: Any, high: Any) -> str:
    if words.missing(low) or words.missing(high):
        return words.DASH
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def _count(value: Any) -> str:
    return words.DASH if words.missing(value) else f"{value:g}"
