"""What may be said about pairs: a sentence for each kind of verdict, and a forest of each baseline.

Of twelve architectures there are sixty-six pairs, and nobody reads a sentence for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kitsbench.look import STATES, said
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.axis import Axis
from kitsbench.reporting.first_screen.looked import is_at_end
from kitsbench.text import one_line

GLYPHS = {
    "better_relevant": "●",
    "better": "○",
    "better_negligible": "◆",
    "equivalent": "■",
    "inconclusive": "|",
    "no_verdict": "¦",
    "identical": "=",
    "not_learned": "×",
}
"""A mark for each verdict: colour alone tells nothing to who does not see it."""
MOST_BASELINES = 40
"""Entrants of which each can be the baseline; of more, the first alone."""
_MOST_NAMED = 12


@dataclass(frozen=True)
class Versus:
    """One row of a forest: an architecture minus the baseline.

    Attributes
    ----------
    name : str
    difference : float
    low, high : float or None
        Interval; None where there is none.
    kind : str
        Key of :data:`GLYPHS`.
    verdict : str
        In words.
    """

    name: str
    difference: float
    low: float | None
    high: float | None
    kind: str
    verdict: str

    @property
    def glyph(self) -> str:
        """The mark of the verdict."""
        return GLYPHS[self.kind]

    @property
    def size(self) -> str:
        """The difference with its sign."""
        return words.number(self.difference, signed=True)

    @property
    def span(self) -> str:
        """Its interval; empty where there is none."""
        found = words.interval(self.low, self.high, signed=True)
        return "" if found == words.DASH else found

    def tip(self, baseline: str) -> str:
        """What a pointer is told that rests on the row."""
        numbers = " ".join(filter(None, [self.size, self.span]))
        return one_line(f"{self.name} minus {baseline}: {numbers}, {self.verdict}")


@dataclass(frozen=True)
class Forest(Axis):
    """Differences from each baseline, on one axis.

    Attributes
    ----------
    baselines : dict of str to list of Versus
        By the baseline; the first of the ranking comes first. Rows in the order of the ranking.
    endpoint : str
        Such as ``tumour Dice``.
    margin : float or None
    legend : str
        What marks and lines are.
    """

    baselines: dict[str, list[Versus]]
    endpoint: str
    margin: float | None
    legend: str

    @property
    def first(self) -> str:
        """The baseline that is shown unless a reader chooses another."""
        return next(iter(self.baselines))


def forest(analysis: Analysis) -> Forest | None:
    """Lay every pair beside each of its two as the baseline; None without a pair."""
    order = [str(row["architecture"]) for row in analysis.ranking]
    if not analysis.pairs or not order:
        return None
    known: dict[tuple[str, str], Versus] = {}
    for pair in analysis.pairs:
        for name, other in ((pair["a"], pair["b"]), (pair["b"], pair["a"])):
            known[name, other] = _versus(pair, name)
    # The figure has one axis, which the rows of the first decide; that of the others may be wider.
    bases = order if len(order) <= MOST_BASELINES else order[:1]
    bases = bases if analysis.baseline is None else [analysis.baseline]
    baselines = {
        base: own
        for base in bases
        if (own := [known[name, base] for name in order if (name, base) in known])
    }
    rows = [row for own in baselines.values() for row in own]
    ends = [v for row in rows for v in (row.difference, row.low, row.high) if v is not None]
    ends += [0.0] if analysis.margin is None else [-analysis.margin, analysis.margin]
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low or 1.0)
    together = any(pair.get("p_adjusted") is not None for pair in analysis.pairs)
    lines = (
        "its simultaneous 95 % interval (those of all pairs hold together)"
        if together
        else "its 95 % interval over the scans, of each pair of trained networks by itself (scope "
        "L0)"
    )
    if together and any(row.low is None for row in rows):
        lines += "; no line where no look could test the pair"
    why = f" {words.no_p(analysis.pairs)}" if words.no_p(analysis.pairs) else ""
    kinds = {row.kind for row in rows}
    marks = [f"{GLYPHS[kind]} {MEANINGS[kind]}" for kind in GLYPHS if kind in kinds]
    band = f" Blue band: within the margin of ±{analysis.margin:g}." if analysis.margin else ""
    return Forest(
        low=low - room,
        high=high + room,
        baselines=baselines,
        endpoint=words.endpoint_name(analysis.region, analysis.metric),
        margin=analysis.margin,
        legend=f"Mark: difference of the means; line: {lines}.{band} {', '.join(marks)}.{why}",
    )


_ENDS = {
    "better_relevant": ", beyond the margin",
    "better": "",
    "better_negligible": ", negligibly",
}
MEANINGS = {
    "better_relevant": "difference beyond the margin",
    "better": "difference found",
    "better_negligible": "difference found, but negligible",
    "equivalent": "equivalent",
    "inconclusive": "inconclusive",
    "no_verdict": "no verdict possible",
    "identical": "identical scores",
    "not_learned": "one learned nothing",
}
"""What each of :data:`GLYPHS` means, for a legend."""


def _versus(pair: dict[str, Any], name: str) -> Versus:
    """A pair as the row of one of its two beside the other."""
    sign = 1 if name == pair["a"] else -1
    low, high = pair["ci_simultaneous_low"], pair["ci_simultaneous_high"]
    bounds = (None, None)
    if not words.missing(low) and not words.missing(high):
        bounds = (low, high) if sign > 0 else (-high, -low)
    kind = words.kind_of(pair)
    verdict = words.verdict_name(pair)
    if pair.get("better"):
        found = "better" if pair["better"] == name else "worse"
        verdict = found + _ENDS.get(kind, f", {MEANINGS['not_learned']}")
    # Negative zero would be printed with its sign.
    return Versus(name, sign * pair["difference"] + 0.0, *bounds, kind, verdict)


def grouped(analysis: Analysis) -> list[str]:
    """One sentence for each kind of verdict, and for each that is better, with the names.

    Parameters
    ----------
    analysis : Analysis
    """
    order = [str(row["architecture"]) for row in analysis.ranking]
    place = {name: index for index, name in enumerate(order)}
    margin = "" if analysis.margin is None else f" of {analysis.margin:g}"
    metric = words.metric_name(analysis.metric)
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in GLYPHS}
    for pair in analysis.pairs:
        found[words.kind_of(pair)].append(pair)
    lines = []
    endings = {
        "better_relevant": f", by more than the margin{margin}",
        "better": f"; whether by more than the margin{margin} stays open" if margin else "",
        "better_negligible": f", but by less than the margin{margin}",
    }
    for kind, ending in endings.items():
        for name in order:
            own = [pair for pair in found[kind] if pair["better"] == name]
            if own:
                others = [_other(pair, name) for pair in own]
                lines.append(
                    f"{GLYPHS[kind]} {name} scores better than {_listed(others, place)}"
                    f" ({_span(own)} {metric}){ending}."
                )
    closed = {
        "equivalent": ("is", "are", f"equivalent, that is surely within the margin{margin}"),
        "identical": ("has", "have", "identical scores in every case"),
        "not_learned": (
            "has", "have", "one that learned nothing, so there is no verdict on architectures",
        ),
        "inconclusive": ("is", "are", "open: neither a difference nor equivalence is shown"),
        "no_verdict": ("can", "can", f"get no verdict{_apart(found['no_verdict'])}"),
    }  # fmt: skip
    shown = [(kind, found[kind], *ends) for kind, ends in closed.items()]
    if any("look" in pair for pair in found["inconclusive"]):
        shown[3:4] = _by_looks(analysis, found["inconclusive"])
    for kind, own, one, several, ending in shown:
        if own:
            were = f"{len(own)} of {words.plural(len(analysis.pairs), 'pair')}"
            verb = one if len(own) == 1 else several
            lines.append(f"{GLYPHS[kind]} {were} {verb} {ending}{_named(own, place, analysis)}.")
    return lines


def _by_looks(
    analysis: Analysis, pairs: list[dict[str, Any]]
) -> list[tuple[str, list[dict[str, Any]], str, str, str]]:
    """Open pairs by what the looks have made of them, in the words of these."""
    at_end, rows = is_at_end(analysis.results), []
    for state in STATES:
        own = [pair for pair in pairs if pair["look"]["state"] == state]
        ending = f"{said(state, at_end)}: neither a difference nor equivalence is shown"
        rows.append(("inconclusive", own, "is", "are", ending))
    return rows


def _apart(pairs: list[dict[str, Any]]) -> str:
    """Why pairs get no verdict, and how many of their intervals leave 0 out."""
    if not pairs:
        return ""
    runs = max(int(pair["n_folds"]) * int(pair["n_seeds"]) for pair in pairs)
    ends = [(pair["ci_simultaneous_low"], pair["ci_simultaneous_high"]) for pair in pairs]
    known = [
        (low, high) for low, high in ends if not words.missing(low) and not words.missing(high)
    ]
    away = sum(low > 0 or high < 0 for low, high in known)
    return (
        f", because {words.times(runs)} of training each cannot tell an architecture from luck; "
        f"over these scans the interval of {len(known) - away} includes 0, that of {away} does not"
    )


def _named(pairs: list[dict[str, Any]], place: dict[str, int], analysis: Analysis) -> str:
    """The pairs, each first name with its others; of many, how far apart they lie."""
    if len(pairs) > _MOST_NAMED:
        return f" (differences {_span(pairs)} {words.metric_name(analysis.metric)})"
    of: dict[str, list[str]] = {}
    for pair in pairs:
        first, second = sorted((pair["a"], pair["b"]), key=lambda name: place.get(name, 0))
        of.setdefault(first, []).append(second)
    parts = [
        f"{name} with {_listed(of[name], place)}"
        for name in sorted(of, key=lambda name: place.get(name, 0))
    ]
    return f" ({'; '.join(parts)})"


def _listed(names: list[str], place: dict[str, int]) -> str:
    """Names in the order of the ranking."""
    return words.listing(sorted(names, key=lambda name: place.get(name, 0)), most=_MOST_NAMED)


def _other(pair: dict[str, Any], name: str) -> str:
    return str(pair["b"] if pair["a"] == name else pair["a"])


def _span(pairs: list[dict[str, Any]]) -> str:
    sizes = [abs(float(pair["difference"])) for pair in pairs]
    low, high = words.number(min(sizes)), words.number(max(sizes))
    return low if low == high else f"{low} to {high}"
