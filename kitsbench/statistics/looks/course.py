"""What one look makes of all pairs, given the looks before it.

Arrays may have leading axes ``...``, one element for each experiment: a look at scores and the
calibration of its error rates call the same functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.stats import rankdata

from kitsbench.look import STATES
from kitsbench.statistics.looks.clock import Clock, Ids, codes, information, worth
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.looks.sharing import least_hope, shared_hope
from kitsbench.statistics.looks.spending import spent
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.moments import Index
from kitsbench.statistics.tests.statements import Statements, state

Flags = NDArray[np.bool_]
States = NDArray[np.int8]
OPEN, DIFFERENCE, EQUIVALENCE, FUTILE, NOT_ASKED = range(len(STATES))
FEWEST_FOR_A_LOOK = 5
"""Degrees of freedom between runs (or folds, where each has one run) below which a look that is not
the last spends nothing: with two or three, standard errors change so much from look to look that
what is found at one tells little of the next, and over all looks up to 6.2 % err instead of 5 %."""
FEWEST_IN_ALL = 8.0
"""Degrees of freedom of a difference below which such a look spends nothing either: where one
architecture scatters much more than the other, it has those of the one alone."""
NEARLY_ALL = 0.95
"""Part of the planned cases, and of the runs, from which on what a pair has counts as all. Where no
pair has that much, a look is judged as those before the last: to call it the last brings no run."""


@dataclass(frozen=True)
class Evidence:
    """What the scores say of each pair at one look, first minus second; arrays (..., pairs).

    Attributes
    ----------
    estimate, se, df : ndarray
        Of the difference; NaN without a test.
    p, p_exceeds, p_within : ndarray
        Unadjusted p-values of this look by itself; NaN where nothing may be said.
    share : ndarray
        Part of the cases in the variance that the whole plan leaves, as the scores tell it: how
        much looks depend on each other, and the chance that a pair will be settled.
    cases, runs : ndarray
        Cases and runs at hand, as parts of those that are planned.
    fresh : ndarray of bool
        Whether both architectures have runs that no look has seen.
    enough : ndarray of bool
        Whether there are runs enough for a look that is not the last to show anything, see
        :data:`FEWEST_FOR_A_LOOK`.
    hopeless : ndarray of bool
        Whether no number of runs would allow a statement.
    means : ndarray, shape (..., architectures)
        Of all architectures; NaN of those without scores.
    trains : ndarray of bool, shape (architectures,)
        Whether it gets runs while it goes on, and was not trained elsewhere.
    higher : bool
        Whether more is better.
    """

    estimate: Array
    se: Array
    df: Array
    p: Array
    p_exceeds: Array
    p_within: Array
    share: Array
    cases: Array
    runs: Array
    fresh: Flags
    enough: Flags
    hopeless: Flags
    means: Array
    trains: Flags
    higher: bool


@dataclass(frozen=True)
class Standing:
    """What looks have found so far; arrays (..., pairs).

    Attributes
    ----------
    state : ndarray of int
        Places in :data:`~kitsbench.look.STATES`.
    history : ndarray of int
        Ids of the clock.
    p, p_exceeds, p_within : ndarray
        Sequential p-values; 1 where nothing was tested yet, NaN where nothing can be said.
    sign : ndarray
        Of the estimate at the look with the smallest p-value.
    relevant : ndarray of int
        Of a difference: 1 beyond the margin, -1 within it, 0 neither was shown.
    settled_at, tested_at : ndarray of int
        Numbers of looks; 0 for none.
    estimate, se, df, fraction : ndarray
        Of the look that tested the pair last; NaN where none did.
    share, known : ndarray
        Likewise, as the scores tell it: part of the cases in the variance that the whole plan
        leaves, and part of the planned information that is at hand.
    chance : ndarray
        To be settled within the plan; NaN where the pair was never tested, 0 at the end.
    bound : ndarray
        Quantile that a difference had to reach at the look that tested last; infinite: none.
    """

    state: States
    history: Ids
    p: Array
    p_exceeds: Array
    p_within: Array
    sign: Array
    relevant: NDArray[np.int8]
    settled_at: Index
    tested_at: Index
    estimate: Array
    se: Array
    df: Array
    fraction: Array
    share: Array
    known: Array
    chance: Array
    bound: Array

    @property
    def settled(self) -> Flags:
        """Whether a difference or an equivalence was shown."""
        return np.asarray((self.state == DIFFERENCE) | (self.state == EQUIVALENCE))

    def stated(self, plan: LookPlan) -> Statements:
        """Adjust the sequential p-values for all pairs."""
        # An equivalent pair keeps its share of alpha, which it has used: nothing is passed on.
        p = np.where(self.state == EQUIVALENCE, 1.0, self.p)
        return state(p, self.p_exceeds, self.p_within, plan.alpha)


def beginning(shape: tuple[int, ...], margin: bool) -> Standing:
    """Before the first look.

    Parameters
    ----------
    shape : tuple of int
        (..., pairs).
    margin : bool
        Whether anything is said of a margin.
    """
    nan, one = np.full(shape, np.nan), np.ones(shape)
    zero = np.zeros(shape, dtype=np.int64)
    return Standing(
        state=np.zeros(shape, dtype=np.int8),
        history=zero + Clock.START,
        p=one,
        p_exceeds=one if margin else nan,
        p_within=one if margin else nan,
        sign=np.zeros(shape),
        relevant=np.zeros(shape, dtype=np.int8),
        settled_at=zero,
        tested_at=zero,
        estimate=nan,
        se=nan,
        df=nan,
        fraction=nan,
        share=nan,
        known=nan,
        chance=nan,
        bound=np.full(shape, np.inf),
    )


def advance(
    before: Standing,
    seen: Evidence,
    plan: LookPlan,
    clock: Clock,
    number: int,
    first: Index,
    second: Index,
) -> Standing:
    """Take one look.

    Parameters
    ----------
    before : Standing
        After the look before.
    seen : Evidence
        Of this look.
    plan : LookPlan
    clock : Clock
        With the spending of the plan; it knows the histories of ``before``.
    number : int
        Of this look.
    first, second : ndarray of int, shape (pairs,)
        Architectures of each pair.
    """
    whole = is_whole(seen, plan, number)
    # A pair that lacks its last runs gets no more of them.
    due = seen.fresh | (whole & (before.state == OPEN))
    tested = due & ~before.settled & ~np.isnan(seen.p)
    counted = tested & (seen.enough | whole)
    now = _tested(before, seen, tested, counted, clock, number, whole)
    stated = now.stated(plan)
    now = _settled(now, stated, plan.alpha, number, seen.hopeless)
    now = _bounded(now, tested, counted, plan, clock)
    return _going_on(now, seen, plan, number >= plan.looks, first, second)


def is_whole(seen: Evidence, plan: LookPlan, number: int) -> Flags:
    """Whether it is the last planned look and the last round took place, for each pair.

    It did where any pair has nearly all that was planned. Others may lack their last runs, since
    nobody is trained again who stopped; what is left of alpha is spent on them too.
    """
    there = (seen.cases >= NEARLY_ALL) & (seen.runs >= NEARLY_ALL) & ~np.isnan(seen.estimate)
    took_place = there.any(axis=-1, keepdims=True) & (number >= plan.looks)
    return np.asarray(np.broadcast_to(took_place, there.shape))


def _tested(
    before: Standing,
    seen: Evidence,
    tested: Flags,
    counted: Flags,
    clock: Clock,
    number: int,
    whole: Flags,
) -> Standing:
    """Sequential p-values after this look, and the figures that it saw."""
    pairs = before.p.shape[-1]
    history = before.history.copy()
    if counted.any():
        moments = codes(
            seen.share[counted], seen.cases[counted], seen.runs[counted], whole[counted]
        )
        history[counted] = clock.advance(history[counted], moments)
    p = [before.p.copy(), before.p_exceeds.copy(), before.p_within.copy()]
    fraction = before.fraction.copy()
    sign = before.sign.copy()
    for where, table in clock.each(np.where(counted, history, Clock.START)):
        fraction[where] = table.fraction
        for kept, found in zip(p, (seen.p, seen.p_exceeds, seen.p_within), strict=True):
            level = table.level(worth(found[where], seen.df[where], whole[where], pairs))
            if kept is p[0]:
                sign[where] = np.where(
                    level < kept[where], np.sign(seen.estimate[where]), sign[where]
                )
            kept[where] = np.fmin(kept[where], level)
    return replace(
        before,
        history=history,
        p=p[0],
        p_exceeds=p[1],
        p_within=p[2],
        sign=sign,
        tested_at=np.where(tested, number, before.tested_at),
        estimate=np.where(tested, seen.estimate, before.estimate),
        se=np.where(tested, seen.se, before.se),
        df=np.where(tested, seen.df, before.df),
        fraction=fraction,
        share=np.where(tested, seen.share, before.share),
        known=np.where(
            tested,
            np.where(whole, 1.0, information(seen.share, seen.cases, seen.runs)),
            before.known,
        ),
    )


def _settled(
    now: Standing, stated: Statements, alpha: float, number: int, hopeless: Flags
) -> Standing:
    """Write down what is shown by now. What was settled before stays as it was."""
    differs, exceeds, within = stated.made(alpha)
    new = ~now.settled & ~hopeless
    apart, alike = new & differs, new & within & ~differs
    found = np.where(apart, DIFFERENCE, np.where(alike, EQUIVALENCE, now.state))
    size = exceeds.astype(np.int8) - within
    return replace(
        now,
        state=found.astype(np.int8),
        relevant=np.where(apart, size, now.relevant).astype(np.int8),
        settled_at=np.where(apart | alike, number, now.settled_at),
    )


def _bounded(
    now: Standing, tested: Flags, counted: Flags, plan: LookPlan, clock: Clock
) -> Standing:
    """What each tested pair had to reach at this look, by Holm's steps."""
    p = np.where(now.state == EQUIVALENCE, 1.0, now.p)
    if p.shape[-1] == 0:
        return now
    # Pairs with smaller p-values were found before it, or it was not found either.
    differ = now.state == DIFFERENCE
    left = np.count_nonzero(~differ, axis=-1, keepdims=True)
    smaller = rankdata(p, method="min", axis=-1) - 1
    level = plan.alpha / np.where(differ, p.shape[-1] - smaller, np.maximum(left, 1))
    bound = np.where(tested, np.inf, now.bound)
    for where, table in clock.each(np.where(counted, now.history, Clock.START)):
        bound[where] = table.bound(level[where])
    return replace(now, bound=bound)


def _going_on(
    now: Standing, seen: Evidence, plan: LookPlan, last: bool, first: Index, second: Index
) -> Standing:
    """Which of the pairs that are not settled stay open.

    A pair is given up where its chance is small. So are pairs that keep a few architectures in
    training for one another alone, where all their chances are little for so many rounds.
    """
    chance = chances(now, plan, ~np.isnan(seen.p_within), seen.hopeless)
    if last:
        chance = np.zeros_like(chance)
    free = ~now.settled
    state = np.where(free, OPEN, now.state)
    # NaN: it was never tested, so nothing is known against it.
    state = np.where(free & (last | (chance < plan.futility) | seen.hopeless), FUTILE, state)
    if plan.question == "top":
        asked = _for_the_top(now, seen, first, second)
        state = np.where(free & ~asked, NOT_ASKED, state)
    # One pair alone is all that was asked: what its last rounds cost spares nothing of others, and
    # to give it up sooner would lose what a fixed design finds.
    if first.size > 1:
        going = state == OPEN
        hoped = np.where(going, np.where(np.isnan(chance), np.inf, chance), 0.0)
        hope = shared_hope(hoped, going, first, second, seen.trains)
        state = np.where(going & (hope < least_hope(plan.futility)), FUTILE, state)
    return replace(now, state=state.astype(np.int8), chance=chance)


def chances(now: Standing, plan: LookPlan, may_be_equivalent: Flags, hopeless: Flags) -> Array:
    """Chance of each pair to be settled by the end of the plan, given its scores so far.

    The estimate at the end is normal around the one at hand, with the variance by which the two
    differ: the conditional power, averaged over what the scores leave open about the true
    difference. With few degrees of freedom the spread is that of Student's t.

    Parameters
    ----------
    now : Standing
        With the figures of this look.
    plan : LookPlan
    may_be_equivalent : ndarray of bool
        Whether an equivalence can be shown of the pair at all.
    hopeless : ndarray of bool
        Whether nothing can be shown of it.

    Returns
    -------
    ndarray
        NaN where the pair was never tested, 0 where it is hopeless.
    """
    number = now.p.shape[-1]
    if number == 0:
        return np.zeros(now.p.shape)
    left = np.count_nonzero(now.state != DIFFERENCE, axis=-1, keepdims=True)
    at_end = now.se * np.sqrt(now.known)
    between = now.se * np.sqrt(np.maximum(1 - now.known, 0.0))
    df = np.where(np.isnan(now.df), 1.0, now.df)

    def below(edge: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(special.stdtr(df, (edge - now.estimate) / between))

    def apart(sharing: Array) -> Array:
        far = -special.ndtri(plan.alpha / np.maximum(sharing, 1) / 2) * at_end
        return np.asarray(1 - below(far) + below(-far))

    chance = apart(left)
    if plan.question == "baseline":
        # What is settled passes its alpha on. Pairs with one baseline are settled together, so this
        # counts: without it eleven of them lose 3.7 points of power where the baseline is ahead by
        # the margin, and 2.6 with it. Of all pairs it brings 0.2 points for more of the hours.
        for _ in range(2):
            # An equivalent pair has used its share.
            hoped = np.where(now.settled | hopeless | np.isnan(chance), 0.0, chance)
            chance = apart(left - (hoped.sum(axis=-1, keepdims=True) - hoped))
    if plan.margin is not None:
        edge = plan.margin + special.ndtri(plan.alpha / number / 2) * at_end
        within = np.where(may_be_equivalent & (edge > 0), below(edge) - below(-edge), 0.0)
        chance = np.minimum(chance + within, 1.0)
    # Without any spread more runs find what is there; what is there to be found is a difference.
    certain = (now.se == 0) & (now.known < 1) & (now.estimate != 0)
    at_hand = np.where(np.isnan(now.se), np.nan, certain.astype(float))
    return np.where(hopeless, 0.0, np.where(between > 0, chance, at_hand))


def _for_the_top(now: Standing, seen: Evidence, first: Index, second: Index) -> Flags:
    """Whether a pair tells who belongs to the best: the leader, against who is not out yet."""
    out = np.zeros(seen.means.shape, dtype=bool)
    found = (now.state == DIFFERENCE) * now.sign * (1 if seen.higher else -1)
    for place, (a, b) in enumerate(zip(first, second, strict=True)):
        out[..., b] |= found[..., place] > 0
        out[..., a] |= found[..., place] < 0
    mean = np.where(out | np.isnan(seen.means), -np.inf, seen.means * (1 if seen.higher else -1))
    leader = mean.argmax(axis=-1)[..., None]
    in_it = (first == leader) | (second == leader)
    return np.asarray(in_it & ~out[..., first] & ~out[..., second])


def still_running(state: States, first: Index, second: Index, number: int) -> Flags:
    """Architectures with an open pair, shape (..., architectures)."""
    goes_on = np.zeros((*state.shape[:-1], number), dtype=bool)
    for place, (a, b) in enumerate(zip(first, second, strict=True)):
        goes_on[..., a] |= state[..., place] == OPEN
        goes_on[..., b] |= state[..., place] == OPEN
    return goes_on


def spent_by(plan: LookPlan, fraction: Array, pairs: int) -> Array:
    """Alpha that pairs have spent of their shares, which are equal; 0 before a first test."""
    share = plan.alpha / max(pairs, 1)
    return spent(plan.spending, share, np.where(np.isnan(fraction), 0.0, fraction))
