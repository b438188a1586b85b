"""What transforms do to voxels, in numbers: those of a recipe, and those of the code of others.

Every quantity is measured on small images that are made to show it, in the same way on both
sides, and nan where a draw left it as it was. ``python tests/plugins/realised.py --write`` measures
the code of others anew; it needs batchgenerators, batchgeneratorsv2 and MONAI.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from kitsbench.architecture import Grid
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.files import write_json
from kitsbench.recipe import Recipe

STORED = Path(__file__).with_name("realised.json")
Values = dict[str, np.ndarray]  # {quantity: one number a draw, nan where nothing happened}
Move = Callable[[Tensor], Tensor]
AXES = "zyx"
EDGE = 9  # of images that show how voxels move
LEAST = 1e-4  # below it nothing has happened
NOISE = torch.randn(24, 24, 24, generator=torch.Generator().manual_seed(0))


# --- images that show a change of intensity -------------------------------------------------------


def _noise_of(change: Move) -> dict[str, float]:
    return {"sd": float(change(torch.zeros(12, 12, 12)).std())}


def _width_of(change: Move) -> dict[str, float]:
    """Sd of what becomes of one bright voxel, along each axis."""
    point = torch.zeros(15, 15, 15)
    point[7, 7, 7] = 1
    after, found = change(point).double(), {}
    for axis, name in enumerate(AXES):
        line = after.sum([other for other in range(3) if other != axis])
        found[name] = math.sqrt(float((line / line.sum()) @ (torch.arange(15.0).double() - 7) ** 2))
    return found


def _slope_of(change: Move) -> dict[str, float]:
    """Distance of two voxels near the middle of a wide range, of which there are as many."""
    image = torch.zeros(6, 6, 6)
    image[0, 0, 0], image[0, 0, 1], image[1, 1, 1], image[2, 2, 2] = -9, 9, 0.5, -0.5
    after = change(image)
    return {"factor": float(after[1, 1, 1] - after[2, 2, 2])}


def _level_of(change: Move) -> dict[str, float]:
    return {"factor": float(change(torch.ones(4, 4, 4)).mean())}


def _rise_of(change: Move) -> dict[str, float]:
    """What is added to an image of sd 1."""
    image = torch.tensor([-1.0, 1.0]).repeat(256).view(8, 8, 8)
    return {"added": float((change(image.clone()) - image).mean())}


def _left_of(change: Move) -> dict[str, float]:
    """Share of the variance of white noise that is left."""
    return {"left": float(change(NOISE.clone()).var() / NOISE.var())}


def _power_of(change: Move, invert: bool) -> dict[str, float]:
    """Exponent of the power, whatever mean and sd the image has then."""
    image = torch.linspace(0, 1, 125).view(5, 5, 5)
    after = change(image.clone()).flatten()
    low, middle, high = (float(after[k]) for k in (0, 62, 124))
    part = (high - middle if invert else middle - low) / (high - low)
    return {"exponent": math.log(part) / math.log(0.5)}


PROBES: Mapping[str, Callable[[Move], dict[str, float]]] = {
    "noise": _noise_of,
    "blur": _width_of,
    "brightness": _level_of,
    "contrast": _slope_of,
    "shift": _rise_of,
    "low_resolution": _left_of,
    "gamma": lambda change: _power_of(change, invert=False),
    "inverted gamma": lambda change: _power_of(change, invert=True),
}


# --- how voxels move ------------------------------------------------------------------------------


def _moved(matrix: np.ndarray) -> dict[str, float]:
    """Of a matrix from voxels of the output to those of the source, about the middle.

    The factor of each axis' coordinate, and the angle by which the axis is turned.
    """
    factors, found = np.linalg.norm(matrix, axis=0), {}
    for axis, name in enumerate(AXES):
        if abs(factors[axis] - 1) > LEAST:
            found[f"scale {name}"] = float(factors[axis])
        cosine = min(matrix[axis, axis] / factors[axis], 1.0)
        if cosine < 1 - LEAST**2:
            found[f"turn {name}"] = math.degrees(math.acos(max(cosine, -1.0)))
    return found


def _steps(positions: np.ndarray) -> np.ndarray:
    """Matrix of positions (3, z, y, x) in the middle of a volume."""
    middle = [edge // 2 for edge in positions.shape[1:]]
    columns = []
    for axis in range(3):
        ahead, behind = list(middle), list(middle)
        ahead[axis] += 1
        behind[axis] -= 1
        columns.append((positions[:, *ahead] - positions[:, *behind]) / 2)
    return np.stack(columns, 1)


def ramps() -> Tensor:
    """Images (3, z, y, x) that show the coordinate of each voxel."""
    axes = [torch.arange(EDGE, dtype=torch.float32) - EDGE // 2] * 3
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _shifted(away: np.ndarray) -> dict[str, float]:
    """Voxels by which the middle has moved along each axis."""
    pairs = zip(AXES, away.tolist(), strict=True)
    return {name: value for name, value in pairs if abs(value) > LEAST}


class Draws:
    """Numbers of many draws, by quantity."""

    def __init__(self) -> None:
        self.count = 0
        self._found: dict[str, dict[int, float]] = defaultdict(dict)

    def next(self) -> None:
        """Begin another draw."""
        self.count += 1

    def note(self, name: str, found: Mapping[str, float]) -> None:
        """Add what the current draw shows."""
        for part, value in found.items():
            self._found[f"{name} {part}".strip()][self.count - 1] = value

    @property
    def values(self) -> Values:
        """A number or nan for each draw."""
        found, touched = {}, np.zeros(self.count, bool)
        for name, own in self._found.items():
            found[name] = np.full(self.count, np.nan)
            found[name][list(own)] = list(own.values())
            touched |= ~np.isnan(found[name]) & (name.split()[0] not in ("still", "bent", "mirror"))
        # Chances that are no joint ones multiply.
        return found | {"nothing but mirrored": np.where(touched, np.nan, 1.0)}


def of_recipe(recipe: Recipe, spacing: tuple[float, float, float], count: int) -> Values:
    """Measure a recipe's transforms.

    Parameters
    ----------
    recipe : Recipe
    spacing : (float, float, float)
        mm.
    count : int
        Draws.
    """
    augment = Augmenter(
        (Grid("image", (EDGE,) * 3),), spacing, recipe.augmentation, (0.0, 1.0, 0.0, 1.0), seed=5
    )
    draws = Draws()
    for step in range(count):
        drawn = augment.draw(step, 0)
        draws.next()
        flat = replace(drawn.motion, flips=(False,) * 3, control=None)
        path = augment.geometries[0].path(flat, (EDGE,) * 3, np.zeros(3))
        positions = path.positions().numpy()
        draws.note("", _moved(_steps(positions)))
        away = positions[(slice(None), *[EDGE // 2] * 3)] - EDGE // 2
        draws.note("translation", _shifted(away))
        flips = zip(AXES, drawn.motion.flips, strict=True)
        draws.note("mirror", {name: 1.0 for name, flip in flips if flip})
        draws.note("still", {"": 1.0} if flat.still else {})
        draws.note("bent", {"": 1.0} if drawn.motion.control is not None else {})
        for change in drawn.changes:
            inverted = change.transform.name == "gamma" and change.transform["invert"]
            name = f"{'inverted ' * inverted}{change.transform.name}"

            _note_change(draws, name, lambda image, c=change: c.apply(image) or image)
    return draws.values


def displacements(
    recipe: Recipe, spacing: tuple[float, float, float], patch: tuple[int, int, int], count: int
) -> np.ndarray:
    """Root mean square displacement over a patch, in voxels along an axis, of bent samples."""
    (elastic,) = (t for t in recipe.augmentation if t.name == "elastic")
    always = (replace(elastic, probability=1.0),)
    augment = Augmenter((Grid("image", patch),), spacing, always, (0.0, 1.0, 0.0, 1.0), seed=5)
    found = []
    for step in range(count):
        motion = augment.draw(step, 0).motion
        (geometry,) = augment._geometries_of(motion)
        bend = geometry.path(motion, patch, np.zeros(3)).bend
        control, y, x = (t.numpy() for t in (bend.control, bend.along_y[::3], bend.along_x[::3]))
        found.append(np.sqrt(np.mean((y @ control[:, ::3] @ x.T) ** 2)))
    return np.array(found)


# --- the code of others ---------------------------------------------------------------------------


def of_nnunet(count: int, flat: bool = False) -> Values:
    """Transforms of ``get_training_transforms`` in nnUNetTrainer.py of nnU-Net v2.8.1."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    angle = math.radians(180 if flat else 30)
    move = SpatialTransform(
        (EDGE,) * (2 if flat else 3),
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=0,
        p_rotation=0.2,
        rotation=(-angle, angle),
        p_scaling=0.2,
        scaling=(0.7, 1.4),
        p_synchronize_scaling_across_axes=1,
        bg_style_seg_sampling=False,
    )
    gamma = {"synchronize_channels": False, "p_per_channel": 1, "p_retain_stats": 1}
    chances = {"synchronize_channels": False, "p_per_channel": 1}
    near_one = BGContrast((0.75, 1.25))
    changes = {
        "noise": (0.1, GaussianNoiseTransform((0, 0.1), 1, True)),
        "blur": (0.2, GaussianBlurTransform((0.5, 1.0), False, False, p_per_channel=0.5)),
        "brightness": (0.15, MultiplicativeBrightnessTransform(near_one, **chances)),
        "contrast": (0.15, ContrastTransform(near_one, preserve_range=True, **chances)),
        "low_resolution": (
            0.25,
            SimulateLowResolutionTransform(
                (0.5, 1), False, True, (0,) if flat else None, None, p_per_channel=0.5
            ),
        ),
        "inverted gamma": (0.1, GammaTransform(BGContrast((0.7, 1.5)), 1, **gamma)),
        "gamma": (0.3, GammaTransform(BGContrast((0.7, 1.5)), 0, **gamma)),
    }
    mirror, images, draws = MirrorTransform((0, 1, 2)), ramps(), Draws()
    for _ in range(count):
        draws.next()
        _note_move(draws, lambda: _spatial(move, images, flat))
        flips = mirror.get_parameters()["axes"]
        draws.note("mirror", {AXES[axis]: 1.0 for axis in flips})
        for name, (probability, transform) in changes.items():
            random = RandomTransform(transform, probability)
            _note_change(draws, name, lambda image, r=random: r(image=image[None])["image"][0])
    return draws.values


def _spatial(move, images: Tensor, flat: bool) -> Tensor:
    if not flat:
        return move(image=images.clone())["image"]
    stacked = images.clone().view(-1, EDGE, EDGE)  # slices are channels
    return move(image=stacked)["image"].view(images.shape)


def of_attention_vnet(count: int) -> Values:
    """The default augmentation of nnU-Net v1, which the authors trained by."""
    from batchgenerators.augmentations.color_augmentations import augment_gamma
    from batchgenerators.augmentations.spatial_transformations import augment_spatial

    angle, draws, images = (-math.radians(15), math.radians(15)), Draws(), ramps().numpy()[None]
    chance = np.random.default_rng(0)

    def moved() -> np.ndarray:
        after, _ = augment_spatial(
            images.copy(),
            None,
            (EDGE,) * 3,
            [EDGE // 2] * 3,
            do_elastic_deform=False,
            angle_x=angle,
            angle_y=angle,
            angle_z=angle,
            scale=(0.85, 1.25),
            border_mode_data="constant",
            order_data=1,
            random_crop=False,
            p_scale_per_sample=0.2,
            p_rot_per_sample=0.2,
        )
        return after[0]

    def gamma(image: Tensor) -> Tensor:
        if chance.uniform() >= 0.3:
            return image
        after = augment_gamma(image.numpy()[None], (0.7, 1.5), False, retain_stats=True)
        return torch.from_numpy(np.asarray(after[0], np.float32))

    for _ in range(count):
        draws.next()
        _note_move(draws, moved)
        _note_change(draws, "gamma", gamma)
    return draws.values


def of_scau(count: int) -> Values:
    """The transforms of train.py of Gohil and Lad; there axes are (x, y, z)."""
    from monai.transforms import Rand3DElastic, RandGaussianNoise, RandShiftIntensity

    move = Rand3DElastic(
        (5, 8),
        (0, 0),
        prob=0.5,
        spatial_size=(EDGE,) * 3,
        translate_range=(10, 10, 5),
        rotate_range=(math.pi / 36, math.pi / 36, math.pi),
        scale_range=(0.1, 0.1, 0.1),
        padding_mode="zeros",
    )
    changes = {
        "shift": RandShiftIntensity(offsets=0.1, prob=0.25),
        "noise": RandGaussianNoise(prob=0.25, mean=0.0, std=0.1),
    }
    for seed, transform in enumerate((move, *changes.values())):
        transform.set_random_state(seed)
    draws = Draws()
    # Its grid of positions is what it would look up, so the middle may lie far outside.
    grids: list[Tensor] = []
    move.resampler = lambda image, grid, **_: grids.append(grid) or image
    for _ in range(count):
        draws.next()
        move(torch.zeros(1, *(EDGE,) * 3))
        positions = grids.pop()[:3].flip(0).permute(0, 3, 2, 1).numpy()
        found = _moved(_steps(positions))
        away = positions[(slice(None), *[EDGE // 2] * 3)]
        draws.note("", found)
        draws.note("translation", _shifted(away))
        draws.note("still", {} if found else {"": 1.0})
        for name, transform in changes.items():
            _note_change(draws, name, lambda image, t=transform: t(image[None])[0])
    return draws.values


@dataclass(frozen=True)
class SmoothedNoise:
    """Displacements of an elastic deformation: white noise in [-1, 1], smoothed and multiplied.

    Attributes
    ----------
    patch : tuple of int
        Beyond its edge there is no noise, so that displacements are smaller there.
    sigma, amplitude : (float, float)
        Each is drawn evenly.
    truncate : float
        Where the Gaussian is cut off, in sigmas.
    """

    patch: tuple[int, int, int]
    sigma: tuple[float, float]
    amplitude: tuple[float, float]
    truncate: float

    def rms(self, sigma: float, amplitude: float) -> float:
        """Root mean square over the patch, expected of one draw."""
        energies = []
        for edge in self.patch:
            weights = gaussian_filter1d(
                np.eye(edge), sigma, 0, mode="constant", truncate=self.truncate
            )
            energies.append((weights**2).sum() / edge)
        return float(amplitude * np.sqrt(np.prod(energies) / 3))  # 1/3 is the variance of noise

    def summary(self) -> dict[str, float]:
        """Mean and sd of that over what is drawn."""
        low, high = self.sigma
        ones = np.array([self.rms(s, 1.0) for s in low + (high - low) * (np.arange(20) + 0.5) / 20])
        least, most = self.amplitude
        amplitudes = least + (most - least) * (np.arange(50) + 0.5) / 50
        return summary(np.outer(ones, amplitudes).ravel())


BENDS = {
    "attention_vnet": SmoothedNoise((48, 160, 160), (9, 13), (0, 900), 4.0),
    "scau": SmoothedNoise((64, 128, 128), (5, 8), (50, 150), 3.0),
}


def bent_by_batchgenerators(noise: SmoothedNoise, sigma: float, amplitude: float) -> np.ndarray:
    """Displacements of one draw, voxels."""
    from batchgenerators.augmentations.utils import elastic_deform_coordinates

    return elastic_deform_coordinates(np.zeros((3, *noise.patch)), amplitude, sigma)


def bent_by_monai(noise: SmoothedNoise, sigma: float, amplitude: float) -> np.ndarray:
    """Displacements of one draw, voxels."""
    from monai.transforms import Rand3DElastic

    transform = Rand3DElastic((sigma, sigma), (amplitude, amplitude), prob=1.0)
    transform.set_random_state(int(sigma * amplitude))
    grids: list[Tensor] = []
    transform.resampler = lambda image, grid, **_: grids.append(grid) or image
    transform(torch.zeros(1, *noise.patch))
    axes = [torch.arange(edge) - (edge - 1) / 2 for edge in noise.patch]
    still = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return (grids[0][:3] - still).numpy()


def _note_move(draws: Draws, move: Callable[[], Tensor | np.ndarray]) -> None:
    found = _moved(_steps(np.asarray(move(), float)))
    draws.note("", found)
    draws.note("still", {} if found else {"": 1.0})


def _note_change(draws: Draws, name: str, change: Move) -> None:
    """Note a change that happens by chance, if it has happened."""
    happened = []

    def watched(image: Tensor) -> Tensor:
        after = change(image.clone())
        happened.append(not torch.equal(after, image))
        return after

    found = PROBES[name](watched)
    if any(happened):
        draws.note(name, found)


# --- what is stored -------------------------------------------------------------------------------


def summary(values: np.ndarray) -> dict[str, float]:
    """Share of the draws in which something happened, mean and sd of what did."""
    there = values[~np.isnan(values)]
    found = {"share": len(there) / len(values), "mean": there.mean(), "sd": there.std()}
    return {key: float(f"{value:.5g}") for key, value in found.items()}


SOURCES: Mapping[str, Callable[[int], Values]] = {
    "nnunet": of_nnunet,
    "nnunet, flat": lambda count: of_nnunet(count, flat=True),
    "attention_vnet": of_attention_vnet,
    "scau": of_scau,
}


def facts(count: int) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Source, quantity and what was measured."""
    for source, measure in SOURCES.items():
        np.random.seed(0)  # noqa: NPY002 - what their code draws by
        torch.manual_seed(0)
        for name, values in measure(count).items():
            yield source, name, summary(values)
    for source, noise in BENDS.items():
        yield source, "displacement", noise.summary()


def main() -> None:
    """Measure, and write what was found where the test looks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"replace {STORED.name}")
    parser.add_argument("--draws", type=int, default=2500)
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for source, name, values in facts(options.draws):
        found[source][name] = values
        print(source, name, values)
    if options.write:
        command = f"python tests/plugins/realised.py --write --draws {options.draws}"
        write_json(STORED, {"command": command, "draws": options.draws, "facts": dict(found)})


if __name__ == "__main__":
    main()
