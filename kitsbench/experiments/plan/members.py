"""Members of ensembles: what they are called, and that none has seen what is scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kitsbench.architecture import Setting
from kitsbench.data.splits.rules import FILES, without_inner
from kitsbench.data.splits.split import Split
from kitsbench.errors import UsageError
from kitsbench.experiments.asked.request import Tell
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.spec import Member

INNER = 5  # folds that a remedy names


def resolve_members(
    members: Sequence[Member], mode: str, size: Setting | None
) -> tuple[Member, ...]:
    """Members with their settings in a mode, and an ensemble's size where they name none."""
    given = {} if size is None else {"size": size}
    return tuple(
        replace(member, config=tuple({**given, **member.settings(mode)}.items()), paper=())
        for member in members
    )


def run_of(member: Member, members: Iterable[Member]) -> tuple[int, int]:
    """Which of how many seeds a member of an ensemble takes."""
    if member.seed is None:
        return 0, 1
    return member.seed, 1 + max(other.seed or 0 for other in members)


def ending_of(member: Member, members: Sequence[Member], seeds: int) -> str:
    """What a member's name has behind that of its architecture.

    Parameters
    ----------
    member : Member
    members : sequence of Member
        All of its ensemble.
    seeds : int
        Runs of the experiment. In a single one the first seed is that of everybody.
    """
    ending = "" if member.fold is None else f"+fold{member.fold}"
    number, count = run_of(member, members)
    if count == 1 or (seeds == 1 and number == 0):
        return ending
    return f"{ending}+run{number}of{count}"


def as_member(found: Entrant, member: Member, members: Sequence[Member], seeds: int) -> Entrant:
    """An entrant of the settings of a member, as the member that it is."""
    ending = ending_of(member, members, seeds)
    if not ending:
        return replace(found, asked=False)
    notes = found.notes
    if member.fold is not None:
        notes += (f"Trained without inner fold {member.fold} of the cases that a fold trains on.",)
    return replace(
        found,
        name=found.name + ending,
        asked=False,
        notes=notes,
        alone=found.name,
        left_out=member.fold,
        run=run_of(member, members),
    )


def needs_inner(entrant: Entrant) -> int:
    """Inner folds that its members name, 0 for none."""
    members = entrant.spec.members if entrant.spec else ()
    return max((1 + m.fold for m in members if m.fold is not None), default=0)


def with_inner_folds(
    entrants: Sequence[Entrant], installed: Iterable[str], split: str | Split, tell: Tell
) -> list[Entrant]:
    """The entrants that the split allows; their members come after them.

    Parameters
    ----------
    entrants : sequence of Entrant
    installed : iterable of str
        Names of those that take part because everything does that is installed. What the split
        does not allow of them is left out.
    split : str or Split
        The rule that was asked for, before any data are prepared; the split itself after it.
    tell : callable

    Raises
    ------
    UsageError
        One that was named averages networks of inner folds, and the split has none, or fewer.
    """
    if isinstance(split, Split):
        there = 0 if split.inner is None else min(map(len, split.inner))
        rule = ""
    else:
        rule, inner = without_inner(split)
        if inner is None and rule.lower().endswith(FILES):
            return list(entrants)  # a file may hold inner folds
        there = inner or 0
    out = {e.name: needs_inner(e) for e in entrants if needs_inner(e) > there}
    if not out:
        return list(entrants)
    installed = set(installed)
    asked = [e.name for e in entrants if e.name in out and e.registered.name not in installed]
    ways = _ways(max(out.values()), rule)
    if asked:
        raise UsageError(_reason(asked, max(out.values()), there, ways))
    tell(
        f"Left out: {', '.join(out)}: they average networks of {max(out.values())} inner folds, "
        f"and the split has {there or 'none'}. The same command with --split "
        f"{ways[0].partition(' ')[0]} includes them."
    )
    kept = [e for e in entrants if e.name not in out]
    used = {name for entrant in kept for name in entrant.members}
    return [e for e in kept if e.asked or e.name in used]


def _ways(wanted: int, rule: str) -> list[str]:
    """Splits with enough inner folds, with a word on what they are; that of the rule is first."""
    count = max(wanted, INNER)
    ways = [f"80:20/{count} (one test set)", f"5/{count} (cross-validation, in each fold {count})"]
    if rule and not rule.lower().endswith(FILES):
        ways.insert(0, f"{rule}/{count}")
    return ways


def _reason(names: Sequence[str], wanted: int, there: int, ways: Sequence[str]) -> str:
    has = f"has {there} of them" if there else "has none: they would train on what is scored"
    return (
        f"{', '.join(names)}: networks are averaged that are each trained without one of {wanted} "
        f"inner folds of the training cases, and the split {has}. Use a split with inner folds, "
        "whose test cases no member sees: "
        f"--split {' or '.join(dict.fromkeys(ways))}."
    )


def check_leaks(name: str, tested: Iterable[str], trained: Mapping[str, Iterable[str]]) -> None:
    """Refuse an ensemble of which a member was trained on a case that is scored.

    Parameters
    ----------
    name : str
    tested : iterable of str
        Cases that are scored.
    trained : mapping of str to iterable of str
        Member to its training cases.

    Raises
    ------
    UsageError
        It would score what a member knows.
    """
    tested = set(tested)
    for member, cases in trained.items():
        seen = sorted(tested.intersection(cases))
        if seen:
            raise UsageError(
                f"{name} would be scored on {len(seen)} cases that its member {member} was trained "
                f"on ({', '.join(seen[:3])}{' ...' if len(seen) > 3 else ''}). Use a split with "
                f"inner folds, whose test cases no member sees: --split 80:20/{INNER}."
            )
