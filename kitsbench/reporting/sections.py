"""The report as a list of sections, independent of how it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kitsbench.experiments.records import AccountsRecord
from kitsbench.experiments.results import Results
from kitsbench.metrics import METRICS, TRUTH_EMPTY
from kitsbench.recipe import SHARED
from kitsbench.reporting import accounting, costs, scores, setup, tradeoffs, words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.drawing import budget_plots, plots
from kitsbench.reporting.drawing.figures import Picture
from kitsbench.reporting.drawing.inner_maps import draw_maps
from kitsbench.reporting.drawing.overlays import draw_overlays
from kitsbench.reporting.first_screen.answer import undefined, versions
from kitsbench.reporting.first_screen.curves import watched_cases, with_end
from kitsbench.reporting.first_screen.entrants import exceptions, sizes, trials_told
from kitsbench.reporting.glossary import spread_over_folds
from kitsbench.reporting.methods import OWN, interval_method, methods, references
from kitsbench.reporting.page import cases, checklist, citations, fairness, stability, verdicts
from kitsbench.reporting.page.along import along_table
from kitsbench.reporting.page.blocks import Block, Section
from kitsbench.reporting.page.papers_claims import claims
from kitsbench.reporting.page.recipe_words import recipe_words
from kitsbench.reporting.page.tuning import tuning_table
from kitsbench.text import file_stem

_OF_MODELS = (
    "Of two trained networks one “scored higher” where the interval of their difference over these "
    "scans leaves 0 out, each pair by itself and without correction; of the architectures no "
    "sentence here says anything."
)
_BESIDE_THE_RECIPE = (
    "For all: what the shared recipe sets (optimiser, schedule, augmentation, voxels, patch) "
    "stands above, and is not the papers'. By name is what a network had to change besides."
)
_MATRIX_FROM = 4  # below that, the forest shows all pairs at a glance


def sections(
    analysis: Analysis,
    trials: Mapping[str, str] | None = None,
    scans: Mapping[str, str] | None = None,
) -> list[Section]:
    """All sections below the answer, in the order of reading.

    Parameters
    ----------
    analysis : Analysis
    trials : mapping of str to str, optional
        Addresses of the trials' folders from the page, by their ids.
    scans : mapping of str to str, optional
        {case: where its scan can be leafed through}, for cases without a picture on the page.
    """
    drawn = _overlays(analysis)
    links = dict(scans or {}) | {
        block.picture.title: f"#{block.key}"
        for block in (drawn.blocks if drawn is not None else ())
        if block.picture is not None and block.key
    }
    found = [
        _ranking(analysis),
        _scores(analysis),
        _pairs(analysis),
        _stability(analysis),
        _cases(analysis, links),
        drawn,
        _curves(analysis),
        _cost(analysis),
        _fairness(analysis),
        _tuning(analysis),
        _claims(analysis),
        _failures(analysis),
        _setup(analysis),
        _provenance(analysis, trials or {}),
    ]
    there = [section for section in found if section is not None]
    return [*there, _methods(analysis, {section.key for section in there})]


def with_time(
    found: list[Section], results: Results, accounts: AccountsRecord | None
) -> list[Section]:
    """Put where the time went behind what each costs; made last, since the report takes time."""
    blocks = []
    if accounts is not None and accounts.calls:
        blocks.append(Block(table=accounting.call_table(accounts.calls)))
    if (table := accounting.trial_table(results)) is not None:
        blocks.append(Block(heading="Trials", table=table, folded=bool(blocks)))
    if not blocks:
        return found
    lead = "Wall time of the experiment, and what surrounds the training that the budget counts."
    before = {"ranking", "scores", "pairs", "looks", "stability", "cases", "overlays"}
    place = sum(section.key in before | {"budget", "cost"} for section in found)
    return [*found[:place], Section("time", "Where the time went", lead, blocks), *found[place:]]


def pictures(found: list[Section]) -> list[Picture]:
    """Every picture of the sections."""
    return [b.picture for section in found for b in section.blocks if b.picture is not None]


def _tuning(analysis: Analysis) -> Section | None:
    found = analysis.results.experiment.tuning
    if found is None or not found.studies:  # stopped before anything was searched for
        return None
    table, lead = tuning_table(found)
    return Section("tuning", "Tuning", lead, [Block(table=table)])


def _ranking(analysis: Analysis) -> Section | None:
    table, apart = scores.ranking(analysis), scores.apart(analysis)
    blocks = [] if table is None else [Block(table=table)]
    if apart is not None:
        blocks.append(Block(heading="Set apart: no rank, no verdict", table=apart))
    lead = "" if table is None else table.caption
    return Section("ranking", "Ranking", lead, blocks) if blocks else None


def _scores(analysis: Analysis) -> Section | None:
    if analysis.results.scores.empty:
        return None
    over = " ± the standard deviation over folds" if spread_over_folds(analysis) else ""
    lead = (
        f"Each number is a mean over {analysis.averaged}{over}, with its 95 % confidence interval "
        "below. The intervals of two architectures may overlap although they differ, because both "
        f"saw the same cases: the next section compares them properly. {interval_method(analysis)}"
    ).strip()
    blocks = [
        Block(heading=heading, table=table) for heading, table in scores.region_tables(analysis)
    ]
    return Section("scores", "Scores by region and label", lead, blocks)


def _pairs(analysis: Analysis) -> Section | None:
    title = "Verdicts on pairs"
    if not analysis.pairs:
        lead = analysis.obstacle
        return Section("pairs", title, lead) if lead else None
    leader = analysis.baseline or str(analysis.ranking[0]["architecture"])
    drawn = plots.forest(analysis.pairs, leader, analysis.margin)
    blocks = [
        Block(heading="What may be said", lines=verdicts.grouped(analysis)),
        Block(heading="Beside a baseline", picture=drawn, forest=verdicts.forest(analysis)),
    ]
    if len(analysis.ranking) >= _MATRIX_FROM:
        figure = plots.matrix(analysis.pairs, analysis.scored)
        blocks.append(Block(heading=figure.title, picture=figure))
    sentences = [str(pair["sentence"]) for pair in sorted(analysis.pairs, key=_by_verdict)]
    if not analysis.settled:
        sentences.insert(0, _OF_MODELS)
    blocks += [
        Block(heading="All numbers of the pairs", table=scores.pair_table(analysis), folded=True),
        Block(heading="A sentence for each pair", lines=sentences, folded=True),
    ]
    secondary = scores.secondary_table(analysis)
    if secondary is not None:
        blocks.append(Block(heading="Other regions and metrics", table=secondary, folded=True))
    reduced = sizes(analysis)
    caveats = [f"The networks are reduced: {reduced}."] * bool(reduced) + analysis.warnings
    if caveats:
        blocks.append(Block(heading="Caveats", lines=caveats))
    scopes = sorted({str(pair["scope"]) for pair in analysis.pairs}, reverse=True)
    lead = " ".join(f"Scope {one}: what is found {words.SCOPES.get(one, '')}." for one in scopes)
    if len(scopes) > 1:
        lead += " Each sentence names its own."
    return Section("pairs", title, lead, blocks)


def _by_verdict(pair: dict[str, Any]) -> tuple[int, float]:
    """What was found comes before what stays open; large differences come first."""
    verdicts = list(words.VERDICT_NAMES)
    verdict = str(pair["verdict"])
    place = verdicts.index(verdict) if verdict in verdicts else len(verdicts)
    return place, -abs(pair["difference"])


def _stability(analysis: Analysis) -> Section | None:
    table, every = stability.agreement(analysis), stability.ranks(analysis)
    blocks = []
    why = stability.why_not(analysis)
    if (figure := stability.bubbles(analysis)) is not None and not why:
        blocks.append(Block(heading=figure.title, picture=figure))
    if table is not None and every is not None:
        # Of trained networks it still tells how much the choice of a rule decides.
        heading = "Other rankings of these trained networks" if why else "Other rankings"
        blocks.append(Block(heading=heading, table=table, folded=bool(why)))
        blocks.append(Block(heading="Ranks by each of them", table=every, folded=True))
    if (failed := stability.without_failed(analysis)) is not None:
        blocks.append(Block(heading="Without the cases that failed", table=failed))
    if told := stability.collapsed(analysis):
        blocks.append(Block(heading="Runs that collapsed", lines=[told]))
    if not blocks:
        return None
    lead = why or "How much of the ranking is owed to the way it was made."
    return Section("stability", "How stable the ranking is", lead, blocks)


def _cases(analysis: Analysis, links: dict[str, str]) -> Section | None:
    table = analysis.results.scores
    if table.empty:
        return None
    own = table[table["protocol"] == analysis.protocol]
    regions = [str(region) for region in dict.fromkeys(own["region"])]
    labels = table[table["protocol"] == "labels"]
    if "cyst" in set(labels["region"]) and "cyst" not in regions:
        # A scan without a cyst has nothing to find; its conventional 1 would hide the others.
        positive = labels[(labels["region"] == "cyst") & ~labels["status"].isin(TRUTH_EMPTY)]
        own = table.loc[[*own.index, *positive.index]]
        regions += ["cyst"] if len(positive) else []
    figure = plots.per_case(own, analysis.scored, regions, links)
    blocks = [Block(picture=figure)]
    every, groups = cases.every_case(analysis, links), cases.strata(analysis)
    if every is not None:
        blocks.append(Block(heading="The hardest cases first", table=every, folded=True))
    blocks += [Block(heading=heading, table=own) for heading, own in groups]
    blocks.append(Block(lines=[cases.other_strata()]))
    return Section("cases", "Every case", figure.caption, blocks)


def _curves(analysis: Analysis) -> Section | None:
    curves = analysis.results.curves
    if curves.empty:
        return None
    shown = [name for name in [*analysis.scored, *analysis.names] if name]
    order = list(dict.fromkeys(shown))
    watched = watched_cases(analysis)
    drawn = [
        budget_plots.along_budget(
            with_end(analysis), order, analysis.names, analysis.region, watched
        ),
        budget_plots.learning(curves, order, analysis.names),
    ]
    blocks = [Block(heading=figure.title, picture=figure) for figure in drawn if figure is not None]
    if not blocks:
        return None
    if (table := along_table(analysis)) is not None:
        blocks.insert(1, Block(heading="The same as numbers", table=table, folded=True))
    lead = "How quality grew with what was spent, and whether training had settled at the end."
    return Section("budget", "Along the budget", lead, blocks)


def _fairness(analysis: Analysis) -> Section:
    table, sentence = fairness.audit(analysis)
    lead = " ".join(filter(None, [sentence, versions(analysis)]))
    blocks = [Block(table=table)] if table.rows else []
    outside = fairness.elsewhere(analysis)
    if outside is not None:
        blocks.append(Block(heading="Beside what was trained elsewhere", table=outside))
    return Section("fairness", "Fairness audit: what each spent", lead, blocks)


def _cost(analysis: Analysis) -> Section | None:
    table, stages = costs.cost(analysis), fairness.stages(analysis)
    if table is None and stages is None:
        return None
    lead = (
        "Size and speed, apart from quality, and how far the networks are reduced: parameters and "
        "operations of a forward pass are given as a share of the paper's network on its patch."
    )
    doubts = tradeoffs.warnings(analysis)
    blocks = [Block(lines=doubts)] if doubts else []
    blocks += [Block(table=table)] if table is not None else []
    against, drawn = tradeoffs.table(analysis), tradeoffs.figure(analysis)
    if against is not None:
        blocks.append(Block(heading="Quality against cost", table=against))
    if drawn is not None:
        blocks.append(Block(picture=drawn))
    bounds = tradeoffs.remarks(analysis)
    if bounds:
        blocks.append(Block(heading="What bounds training", lines=bounds, folded=len(bounds) > 8))
    differences = costs.notes(analysis)
    if differences:
        if analysis.results.experiment.recipe is not None:
            differences = [_BESIDE_THE_RECIPE, *differences]
        blocks.append(Block(heading="What differs from the papers", lines=differences))
    if stages is not None:
        blocks.append(Block(heading="Stages of training", table=stages))
    return Section("cost", "What each costs", lead, blocks)


def _overlays(analysis: Analysis) -> Section | None:
    if not analysis.results.experiment.showcase:
        return None
    order = list(dict.fromkeys([*analysis.scored, *analysis.names]))
    drawn, problems = draw_overlays(analysis.results, order)
    maps, troubles = draw_maps(analysis.results, order)
    problems += troubles
    blocks: list[Block] = []
    for picture in drawn:
        key, folded = f"case-{file_stem(picture.title)}", bool(blocks)
        blocks.append(Block(heading=picture.title, picture=picture, key=key, folded=folded))
        if picture.title in maps:
            inside = maps[picture.title]
            blocks.append(Block(heading=inside.title, picture=inside, folded=folded))
    if problems:
        blocks.append(Block(lines=problems))
    lead = (
        "The cases were chosen before any result was known. Of each, the first slice is the one "
        "with most of the truth; the second is chosen by the results, as that on which all "
        "together are most wrong. Both are the same for all."
        if drawn
        else "No overlay could be drawn."
    )
    return Section("overlays", "Truth and predictions", lead, blocks)


def _claims(analysis: Analysis) -> Section | None:
    table, sentence = claims(analysis)
    if not sentence:
        return None
    blocks = [] if table is None else [Block(table=table)]
    return Section("claims", "What papers claim", sentence, blocks)


def _failures(analysis: Analysis) -> Section:
    table, aside = setup.failures(analysis), setup.excluded(analysis)
    ran = sum(trial.state != "spared" for trial in analysis.results.trials)
    every = trials_told(analysis) if ran == len(analysis.results.trials) else f"{ran} trials"
    told = [f"Every one of {every} finished." if table is None else _what_fails(analysis)]
    if aside is None:
        told.append("No case was set aside.")
    elif (sentence := analysis.results.experiment.dataset.set_aside()) is not None:
        told.append(sentence)
    told += [undefined(analysis)]
    blocks = [] if table is None else [Block(heading="Trials without a result", table=table)]
    if aside is not None:
        blocks.append(Block(heading="Cases that were set aside", table=aside))
    return Section("failures", "Failures and exclusions", " ".join(filter(None, told)), blocks)


def _what_fails(analysis: Analysis) -> str:
    """What becomes of trials without a result."""
    stored = set(analysis.results.scores["metric"])
    nothing = [m.title for name, m in METRICS.items() if name in stored and m.failed == 0]
    return (
        "A failed trial has no predictions: its cases enter all tables as missed"
        + (f" ({words.listing(nothing)} 0)" if nothing else "")
        + ", and none is dropped. A trial that is not finished enters no table."
    )


def _setup(analysis: Analysis) -> Section:
    name = analysis.results.experiment.recipe_name
    of = "of " if name == "paper" else ""
    shared = analysis.results.experiment.recipe
    blocks = [] if shared is None else [Block(heading="Training in words",
                                              table=recipe_words(shared))]  # fmt: skip
    blocks += [
        Block(heading="Folds and seeds", table=setup.folds(analysis)),
        *(
            Block(heading=f"Recipe {of}“{found}”, key by key", table=table, folded=True)
            for found, table in setup.recipes(analysis).items()
        ),
    ]
    but = exceptions(analysis)
    lead = (
        "All architectures were trained by the same recipe, on the same folds"
        + (f"; except {words.listing(but)}" if but else "")
        + f". {OWN}"
        if name == SHARED
        else "Each architecture was trained by its own recipe, on the same folds."
        if name == "paper"
        else ""
    )
    if analysis.elsewhere:
        lead += f" Not so {words.listing(list(analysis.elsewhere))}, trained elsewhere."
    return Section("setup", "Recipe, folds, seeds", lead, blocks)


def _methods(analysis: Analysis, there: set[str]) -> Section:
    blocks = [
        Block(paragraphs=methods(analysis), key="methods-text"),
        Block(heading="References", lines=references(analysis)),
        Block(heading="References as BibTeX", code=citations.bibtex(analysis), folded=True),
        Block(heading="Checklist for reviewers", table=checklist.checklist(analysis, there)),
    ]
    lead = "Written from the files of this experiment, ready to paste."
    return Section("methods", "Methods, for a paper", lead, blocks)


def _provenance(analysis: Analysis, trials: Mapping[str, str]) -> Section:
    blocks = [
        Block(table=setup.provenance(analysis)),
        Block(heading="Architectures", table=setup.architectures(analysis)),
    ]
    if analysis.results.trials:
        table = setup.trials(analysis, trials)
        heading = "Trials and their folders"
        blocks.append(Block(heading=heading, table=table, folded=True, key="trials"))
    environments = setup.environments(analysis)
    if environments.rows:
        blocks.append(Block(heading="Versions and hardware", table=environments, folded=True))
    return Section("provenance", "Provenance", "What is needed to do it again.", blocks)
