"""The registry of claims: read from TOML and checked."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from kitsbench.errors import DataError
from kitsbench.files.foreign import brief, parse_toml, read_text
from kitsbench.metrics import METRICS

Mode = Literal["matched", "paper"]
Text = Annotated[str, Field(min_length=1)]


def _share(metric: str) -> str:
    known = [m.name for m in METRICS.values() if m.higher_is_better and m.high == 1]
    if metric not in known:
        raise ValueError(f"'{metric}' is none of the metrics {', '.join(known)}")
    return metric


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(_Strict):
    """One comparison that a claim makes.

    Attributes
    ----------
    higher, lower : str
        Architectures as on the command line; the claim is that ``higher`` scores higher.
    region : str
        One region, or several joined by ``+``, averaged per case over those that the truth holds.
    metric : str
        A share between 0 and 1 of which more is better.
    effect : float or None
        The paper's gap in units of the metric.
    """

    higher: Text
    lower: Text
    region: Text
    metric: Annotated[str, AfterValidator(_share)] = "dice"
    effect: Annotated[float, Field(gt=0, lt=1)] | None = None


class Claim(_Strict):
    """What a paper claims; the claim holds if all its steps do.

    Attributes
    ----------
    id, paper, statement : str
        Which claim, whose, and what it says in our words.
    figure, conditions : str
        What the paper prints, and on which data.
    modes : tuple of {"matched", "paper"}
        Recipes under which an experiment can speak to it.
    caution : str
        What a reader of the verdict must bear in mind.
    unavailable : str
        Why the steps alone cannot settle it; empty if they can.
    in_paper : dict of str to str
        Architectures of the steps that are others where each is trained by its paper's recipe.
    step : tuple of Step
        What is compared.
    """

    id: Text
    paper: Text
    statement: Text
    figure: Text
    conditions: Text
    modes: Annotated[tuple[Mode, ...], Field(min_length=1)]
    caution: str = ""
    unavailable: str = ""
    in_paper: dict[str, Text] = Field(default_factory=dict)
    step: Annotated[tuple[Step, ...], Field(min_length=1)]

    def steps(self, mode: str) -> tuple[Step, ...]:
        """What is compared in a mode; the steps as they are where it is not known."""
        if mode != "paper":
            return self.step
        other = self.in_paper
        return tuple(
            step.model_copy(
                update={
                    "higher": other.get(step.higher, step.higher),
                    "lower": other.get(step.lower, step.lower),
                }
            )
            for step in self.step
        )

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = sorted(set(self.in_paper) - set(self.architectures))
        if unknown:
            raise ValueError(f"in_paper names '{unknown[0]}', which no step compares")
        return self

    @property
    def architectures(self) -> tuple[str, ...]:
        """Every architecture that is compared, in order of appearance."""
        names = [name for step in self.step for name in (step.higher, step.lower)]
        return tuple(dict.fromkeys(names))


class _Registry(_Strict):
    claim: tuple[Claim, ...]


def read_registry(path: Path | None = None) -> tuple[Claim, ...]:
    """Read claims.

    Parameters
    ----------
    path : Path, optional
        A TOML file of the form of ``kitsbench/claims/statements.toml``; by default that one.

    Raises
    ------
    DataError
        The file is missing or breaks a rule; the message names the claim and the field.
    """
    name = "the registry of claims" if path is None else str(path)
    try:
        if path is None:
            source = resources.files("kitsbench.claims").joinpath("statements.toml")
            text = source.read_text(encoding="utf-8")
        else:
            text = read_text(path)
        claims = _Registry.model_validate(parse_toml(text)).claim
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{name} cannot be read: {reason}. Give a TOML file of claims.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = brief(".".join(map(str, first["loc"])), 120)
        raise DataError(
            f"{name}: {where} is wrong ({first['msg']}); see kitsbench/claims/statements.toml."
        ) from error
    except ValueError as error:
        raise DataError(f"{name} is no TOML: {error}.") from error
    ids = [claim.id for claim in claims]
    doubled = next((name for name in ids if ids.count(name) > 1), None)
    if doubled is not None:
        raise DataError(f"{name} has the claim {doubled} twice; give each an id of its own.")
    return claims
