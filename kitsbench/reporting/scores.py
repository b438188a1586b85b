"""Tables of scores: the ranking, every region, and the pairs."""

from __future__ import annotations

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
    grouped = any(row.get("group") for row in analysis.ranking)
    official = _official(analysis)
    head += ["Official KiTS rank"] * bool(official)
    head += ["Group"] * grouped + ["Rank 95 %"] * places + ["P(first)"] * drawn + ["Trials"]
    rows = []
    for row in analysis.ranking:
        name = str(row["architecture"])
        cells = [
            f"{row['rank']:g}",
            f"{name}\n{_title(analysis, name)}".rstrip("\n"),
            words.number(row["mean"]),
            interval_of_mean({**row, "metric": analysis.metric}),
        ]
        cells += [official.get(name, words.DASH)] * bool(official)
        cells += [str(row.get("group") or words.DASH)] * grouped
        cells += [_range(row.get("rank_low"), row.get("rank_high"))] * places
        cells += [words.percent(row.get("p_first"))] * drawn
        rows.append([*cells, _trials(analysis, name)])
    caption = f"Ranked by the mean {endpoint} over cases and seeds."
    if grouped:
        caption += " Architectures that share a letter are not separated."
    if places:
        caption += " Rank 95 %: the ranks that the tests of all pairs leave open."
    caption += _official_caption(analysis)
    advice = analysis.comparison.get("advice")
    if advice:
        none = "An architecture without a verdict has no group" if analysis.settled else (
            "Without a verdict on architectures there are no groups"
        )  # fmt: skip
        caption += f" {none}. {advice}"
    links = {row[-1]: "#trials" for row in rows}
    return Table(head, rows, caption, text_columns=2, links=links)


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
    rule = str(found["rule"])
    for region, name in words.REGION_NAMES.items():
        rule = rule.replace(f"{region} ", f"{name.lower()} ")
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
        rows.append([f"{name}\n{_title(analysis, name)}", str(known.leak), mean])
    head = ["Entrant", "Why it is set apart", f"Mean {endpoint}"]
    caption = (
        "A score on a scan that was trained on says nothing about new scans. Such entrants are in "
        "no ranking and no comparison of pairs, unless the run says --allow-leak."
    )
    return Table(head, rows, caption, text_columns=2) if rows else None


def region_tables(analysis: Analysis) -> list[tuple[str, Table]]:
    """One table for every region of the protocol and every label by itself.

    Returns
    -------
    list of (str, Table)
        Heading and table. Left out are labels that the dataset does not have, and a label that
        is the same as a region scored before, since its numbers would be the same.
    """
    labels = analysis.results.experiment.dataset.labels
    scores = analysis.results.scores
    tables = []
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
            tables.append((heading, _region_table(analysis, protocol, region, meaning)))
    return tables


def _region_table(analysis: Analysis, protocol: str, region: str, meaning: str) -> Table:
    table = analysis.summary
    measured = (
        set()
        if table.empty
        else set(table[(table["protocol"] == protocol) & (table["region"] == region)]["metric"])
    )
    metrics = [m for m in METRICS if m in measured or m in get_protocol(protocol).metrics]
    rows = []
    for name in analysis.scored:
        found = {m: analysis.row(protocol, name, region, m) for m in metrics}
        dice = found["dice"]
        undefined = max(int(row.get("n_undefined") or 0) for row in found.values())
        rows.append(
            [
                name,
                *(_score(found[metric]) for metric in metrics),
                _count(dice.get("n_cases")),
                f"{_count(dice.get('n_folds'))} × {_count(dice.get('n_seeds'))}",
                f"{undefined} / {_count(dice.get('n_failed'))}",
            ]
        )
    head = ["Architecture", *map(words.metric_name, metrics)]
    head += ["Cases", "Folds × seeds", "Undefined / failed"]
    cells = [cell for row in rows for cell in row[1 : 1 + len(metrics)]]
    mean = "Mean ± SD over folds" if any("±" in cell for cell in cells) else "Mean"
    below = ", 95 % CI below" if any("\n" in cell for cell in cells) else ""
    caption = f"Labels: {meaning}; protocol {protocol}. {mean}{below}."
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
            words.VERDICT_NAMES.get(str(pair["verdict"]), str(pair["verdict"])),
            words.number(pair["difference"], signed=True),
            words.interval(
                pair.get("ci_simultaneous_low"), pair.get("ci_simultaneous_high"), signed=True
            ),
            words.probability(pair.get("p_adjusted")),
            words.probability(pair.get("p_exceeds_margin")),
            words.probability(pair.get("p_equivalence")),
            words.probability(pair.get("p_nadeau_bengio")),
            f"{_count(pair.get('win'))}/{_count(pair.get('tie'))}/{_count(pair.get('loss'))}",
            words.number(pair.get("rank_biserial"), 2, signed=True),
            _count(pair.get("n_cases")),
        ]
        for pair in analysis.pairs
    ]
    head = [
        "Pair",
        "Verdict",
        "Difference",
        "95 % CI, all pairs",
        "p (differs)",
        "p (exceeds margin)",
        "p (within margin)",
        "p (Nadeau-Bengio)",
        "Win/tie/loss",
        "Rank-biserial",
        "Cases",
    ]
    test = analysis.comparison.get("test", "")
    correction = analysis.comparison.get("correction", "")
    caption = (
        f"Endpoint {analysis.region}:{analysis.metric}, test {test}, correction {correction}. "
        "The intervals of all pairs hold together, and all three p-values are adjusted for the "
        "number of pairs. Win/tie/loss counts cases. Nadeau-Bengio: would the difference also "
        "hold for other training sets (not adjusted)."
    )
    return Table(head, rows, caption, text_columns=2)


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
    return Table(
        ["Pair", "Endpoint", "Difference", "95 % CI", "p (adjusted)"],
        rows,
        "Secondary endpoints, exploratory: p is adjusted by Benjamini-Hochberg, and no verdict is "
        "given.",
        text_columns=2,
    )


def _title(analysis: Analysis, name: str) -> str:
    entrant = analysis.results.experiment.entrant(name)
    title = "" if entrant is None else entrant.title
    return "; ".join(filter(None, [title, analysis.role(name)]))


def _trials(analysis: Analysis, name: str) -> str:
    own = [trial for trial in analysis.results.trials if trial.name == name]
    failed = sum(trial.state == "failed" for trial in own)
    done = sum(trial.state == "finished" for trial in own)
    return f"{done}/{len(own)}" + (f", {failed} failed" if failed else "")


def _range(low: Any, high: Any) -> str:
    if words.missing(low) or words.missing(high):
        return words.DASH
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def _count(value: Any) -> str:
    return words.DASH if words.missing(value) else f"{value:g}"
