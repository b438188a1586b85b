"""The words of augmentation: plain data, no torch. Axis order is (z, y, x), lengths are mm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kitsbench.errors import ContractError
from kitsbench.files import added
from kitsbench.named import Value, check_arguments, check_name, is_named

# Every transform that runs on the device, with its parameters and their defaults. Ranges are
# (low, high), drawn uniformly for each sample; triples are per axis (z, y, x). With ``halves`` half
# of the draws lie below 1 and half above, however far the range reaches on either side.
TRANSFORMS: dict[str, dict[str, Value]] = {
    "mirror": {"axes": (0, 1, 2)},  # each axis by itself with the transform's probability
    # About each axis, +- degrees; in mm, or as if voxels were cubes.
    "rotation": {"degrees": (15.0, 15.0, 15.0), "voxels": False},
    # Zoom, one for all axes or one each: of objects, or of the coordinates at which they are looked
    # up, where a larger number makes objects smaller.
    "scale": {
        "range": (0.85, 1.25),
        "isotropic": True,
        "coordinates": False,
        "halves": False,
        "axes": (0, 1, 2),
    },
    "translation": {"mm": (0.0, 0.0, 0.0), "voxels": False},  # +- mm, or voxels
    # Cubic B-spline: distance of the control points and sd of the displacement, one value or one
    # an axis; the sd is multiplied by a factor drawn from ``strength``. A factor from
    # ``smoothness`` multiplies the distance, and the sd by its power -1.5, as smoothing noise does.
    # With ``voxels`` lengths are those of voxels of the first grid.
    "elastic": {
        "spacing_mm": 32.0,
        "magnitude_mm": 4.0,
        "strength": (1.0, 1.0),
        "smoothness": (1.0, 1.0),
        "voxels": False,
    },
    # On the sample's own range, mean and sd kept.
    "gamma": {"range": (0.7, 1.5), "invert": False, "halves": False},
    "noise": {"sd": (0.0, 0.1)},  # in network input units
    "blur": {"sigma": (0.5, 1.0), "isotropic": True},  # voxels; one for all axes, or one each
    "brightness": {"range": (0.75, 1.25), "halves": False},  # factor
    # Factor about the sample's mean, range kept.
    "contrast": {"range": (0.75, 1.25), "halves": False},
    # Added, in network input units, or in units of the sample's sd.
    "shift": {"range": (-0.1, 0.1), "of_sd": False},
    "low_resolution": {"zoom": (0.5, 1.0), "axes": (0, 1, 2)},  # sampled down, then up again
}
LIBRARIES = ("torchio", "monai")  # before the name of a transform that one does in the loader

# What a value may be: (how many numbers, smallest, whether it may be the smallest itself).
_LIMITS: dict[str, tuple[tuple[int, ...], float, bool]] = {
    "rotation.degrees": ((3,), 0, True),
    "scale.range": ((2,), 0, False),
    "translation.mm": ((3,), 0, True),
    "elastic.spacing_mm": ((1, 3), 0, False),
    "elastic.magnitude_mm": ((1, 3), 0, True),
    "elastic.strength": ((2,), 0, True),
    "elastic.smoothness": ((2,), 0, False),
    "gamma.range": ((2,), 0, False),
    "noise.sd": ((2,), 0, True),
    "blur.sigma": ((2,), 0, False),
    "brightness.range": ((2,), 0, True),
    "contrast.range": ((2,), 0, True),
    "shift.range": ((2,), float("-inf"), False),
    "low_resolution.zoom": ((2,), 0, False),
}


@dataclass(frozen=True)
class Transform:
    """One augmentation out of the vocabulary :data:`TRANSFORMS`, or one from outside.

    Those from outside change whole patches in HU on the CPU, in the loader and in their order,
    before any of the vocabulary. Each sample is seeded by (seed, step, place in the batch).

    Parameters
    ----------
    name : str
        A key of :data:`TRANSFORMS`; a transform of torchio, such as ``torchio.RandomBiasField``; a
        transform of dictionaries of MONAI, such as ``monai.RandGaussianNoised``; or a function of
        the plugin (``plugin:NAME``) or of an installed package (``package.module:NAME``), called as
        ``f(images, labels, spacing, rng, **parameters)``.
    probability : float
        Chance that it is applied to a sample.
    parameters : tuple of (str, value)
        What differs from the defaults; for others the arguments of the transform.
    together : bool
        Applied only where the transform before it is (mirrors are passed over), with
        ``probability`` among these samples: 1 for always. For the vocabulary alone.

    Raises
    ------
    ContractError
        The name or a parameter is not known, or a value makes no sense.
    """

    name: str
    probability: float = 1.0
    parameters: tuple[tuple[str, Value], ...] = ()
    together: bool = added(False)

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ContractError(
                f"{self.name} has probability {self.probability}; it must lie in [0, 1]."
            )
        if self.is_foreign:
            self._check_foreign()
            return
        if self.name not in TRANSFORMS:
            raise ContractError(
                f"transform '{self.name}' is not known; choose from {', '.join(TRANSFORMS)}, or "
                "name one of torchio or MONAI, such as torchio.RandomBiasField or "
                "monai.RandGaussianNoised, or a function: plugin:NAME or package.module:NAME."
            )
        for key, value in self.parameters:
            if key not in TRANSFORMS[self.name]:
                known = ", ".join(TRANSFORMS[self.name])
                raise ContractError(f"{self.name} has no parameter '{key}'; it has {known}.")
            self._check(key, value)
        self._check_halves()
        if self.together and self.name == "mirror":
            raise ContractError(
                "mirror is drawn for each axis by itself; together=True is for other transforms."
            )

    def _check(self, key: str, value: Value) -> None:
        """Refuse numbers that the transform cannot work with."""
        numbers = value if isinstance(value, tuple) else (value,)
        if key == "axes":
            if not numbers or not set(numbers) <= {0, 1, 2}:
                raise ContractError(f"{self.name}.axes={value} must name axes among 0, 1, 2.")
            return
        limit = _LIMITS.get(f"{self.name}.{key}")
        if limit is None:
            if not isinstance(value, bool):
                raise ContractError(f"{self.name}.{key}={value!r} must be true or false.")
            return
        counts, least, included = limit
        if len(numbers) not in counts or not all(_is_number(number) for number in numbers):
            wanted = " or ".join(map(str, counts))
            raise ContractError(f"{self.name}.{key}={value!r} must be {wanted} number(s).")
        if any(number < least or (number == least and not included) for number in numbers):  # type: ignore[operator]
            rule = "not be negative" if included else f"be larger than {least:g}"
            raise ContractError(f"{self.name}.{key}={value} must {rule}.")
        if counts == (2,) and numbers[0] > numbers[-1]:  # type: ignore[operator]
            raise ContractError(f"{self.name}.{key}={value} is no range; give (low, high).")

    def _check_halves(self) -> None:
        if not self.arguments().get("halves"):
            return
        low, high = self["range"]
        if not low < 1 < high:
            raise ContractError(
                f"{self.name}.halves draws half of the values below 1 and half above, but range="
                f"({low:g}, {high:g}) does not hold 1; widen it or leave halves out."
            )

    def _check_foreign(self) -> None:
        if self.together:
            raise ContractError(
                f"{self.name} comes from outside and is drawn by itself; together=True is for "
                "transforms of kitsbench.recipe.TRANSFORMS."
            )
        library = self.library
        if library is None:
            check_name(self.name)
        elif not all(part.isidentifier() for part in _parts(self.name)):
            example = "torchio.RandomBiasField" if library == "torchio" else "monai.RandFlipd"
            raise ContractError(
                f"'{self.name}' names no transform of {library}; write for example {example}."
            )
        check_arguments(self.name, self.parameters)

    @property
    def library(self) -> str | None:
        """``torchio`` or ``monai``, where one of them does it."""
        first = _parts(self.name)[0]
        return first if first in LIBRARIES and first != self.name else None

    @property
    def is_foreign(self) -> bool:
        """Whether it is none of the vocabulary, and so done on the CPU in the loader."""
        return self.library is not None or is_named(self.name)

    @property
    def class_name(self) -> str:
        """What a library calls it."""
        return _parts(self.name)[-1]

    def arguments(self) -> Mapping[str, Value]:
        """All parameters: those given, and the defaults of the others."""
        return {**TRANSFORMS.get(self.name, {}), **dict(self.parameters)}

    def __getitem__(self, key: str) -> Any:
        return self.arguments()[key]


def _parts(name: str) -> list[str]:
    return name.replace(":", ".").split(".")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
