"""Make the pictures and the table of the page about the phantom.

Run ``python docs/phantom_gallery.py`` from the root of the repository; it writes to
``docs/_static/phantom``. Everything shown is synthetic.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kitsbench.data.phantom.canvas import Fields
from kitsbench.data.phantom.dataset import draw_case, render_case
from kitsbench.data.phantom.patient import Lesion, Patient
from kitsbench.data.phantom.render import Frame, render

OUT = Path(__file__).resolve().parent / "_static" / "phantom"
WINDOW = (-160, 240)  # HU
COLOURS = {1: "#4c9be8", 2: "#f2545b", 3: "#f5c542"}  # kidney, tumour, cyst
NAMES = {1: "kidney", 2: "tumour", 3: "cyst"}

# Pooled voxels of the KiTS23 training scans: mean, SD and the 5th, 50th and 95th percentile, HU.
MEASURED_HU = {
    1: (115.5, 75.2, -9, 117, 235),
    2: (61.3, 54.2, -12, 55, 155),
    3: (19.3, 36.5, -27, 14, 86),
}
# Quantiles 5, 25, 50, 75 and 95 % of the volumes a case, ml: kidney and tumour of KiTS19, cyst of
# the KiTS23 cases that have one; and of the scans of KiTS19.
MEASURED_ML = {
    1: (259, 353, 408, 490, 612),
    2: (2.6, 7.9, 30.1, 93, 614),
    3: (0.21, 1.24, 4.4, 21.4, 94.9),
}
MEASURED_SCAN = {
    "slice distance, mm": (0.5, 1.25, 3, 5, 5),
    "pixel, mm": (0.66, 0.72, 0.78, 0.87, 0.98),
    "slices": (49, 88, 108, 273, 679),
    "height, mm": (183, 274, 411, 488, 674),
}
QUANTILES = (5, 25, 50, 75, 95)

Slice = tuple[np.ndarray, np.ndarray]


class Scan:
    """One full-size case, of which only the planes that are asked for are rendered."""

    def __init__(self, index: int):
        self.patient: Patient
        self.fields: Fields
        self.frame: Frame
        self.patient, self.fields, self.frame = draw_case(index, size="full")

    def _plane(self, axis: int, at: float, reach: float) -> Slice:
        low, high = [-2000.0] * 3, [2000.0] * 3
        low[axis], high[axis] = at - reach, at + reach
        part = self.frame.part((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        image, label = render(self.patient, self.fields, part)
        middle = image.shape[axis] // 2
        return image.take(middle, axis), label.take(middle, axis)

    def axial(self, z: float) -> Slice:
        """The slice at a height, seen from the feet, front up."""
        image, label = self._plane(0, z, 1.5 * self.frame.spacing[0])
        return image[::-1, ::-1], label[::-1, ::-1]

    def coronal(self, y: float) -> Slice:
        """The slice at a depth, head up, as high as wide pixels."""
        image, label = self._plane(1, y, 1.5 * self.frame.spacing[1])
        ratio = self.frame.spacing[0] / self.frame.spacing[2]
        rows = (np.arange(int(len(image) * ratio)) / ratio).astype(int)[::-1]
        return image[rows][:, ::-1], label[rows][:, ::-1]

    def around(self, lesion: Lesion, half: float = 70.0) -> Slice:
        """Axial cutout of 2 ``half`` mm around a lesion."""
        return self.cutout(lesion.centre, half)

    def cutout(self, centre: tuple[float, float, float], half: float) -> Slice:
        """Axial cutout of 2 ``half`` mm."""
        image, label = self.axial(centre[0])
        top = self.frame.start[1] + self.frame.shape[1] * self.frame.spacing[1]
        left = self.frame.start[2] + self.frame.shape[2] * self.frame.spacing[2]
        pixel = self.frame.spacing[1]
        row, column = int((top - centre[1]) / pixel), int((left - centre[2]) / pixel)
        reach = int(half / pixel)
        rows = slice(max(row - reach, 0), row + reach)
        columns = slice(max(column - reach, 0), column + reach)
        return image[rows, columns], label[rows, columns]


def body(found: Slice) -> Slice:
    """Cut the air beside the patient and the table off."""
    image, label = found
    inside = image > -300
    rows = np.flatnonzero(inside.mean(1) > 0.3)
    columns = np.flatnonzero(inside[rows[0] : rows[-1]].mean(0) > 0.2)
    top, bottom = max(rows[0] - 25, 0), min(rows[-1] + 12, len(image))
    left, right = max(columns[0] - 12, 0), min(columns[-1] + 12, image.shape[1])
    return image[top:bottom, left:right], label[top:bottom, left:right]


def panels(
    path: Path,
    shown: list[tuple[str, Slice, bool]],
    columns: int,
    width: int,
    nearest: bool = False,
) -> None:
    """Write slices side by side: title, slice, and whether to draw outlines of the labels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    rows = -(-len(shown) // columns)
    ratio = max(s[0].shape[0] / s[0].shape[1] for _, s, _ in shown)
    size = (columns * width / 100, rows * (width * ratio + 22) / 100)
    figure, axes = plt.subplots(rows, columns, figsize=size, dpi=100, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, (image, label), outline) in zip(axes.flat, shown, strict=False):
        axis.imshow(
            image,
            cmap="gray",
            vmin=WINDOW[0],
            vmax=WINDOW[1],
            interpolation="nearest" if nearest else "lanczos",
        )
        axis.set_title(title, fontsize=8, pad=3)
        for value, colour in COLOURS.items():
            if outline and (label == value).any():
                axis.contour(label == value, levels=[0.5], colors=[colour], linewidths=0.9)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - 20 / (size[1] * 100))
    figure.subplots_adjust(wspace=0.02, hspace=24 / (width * ratio))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
    # Few grey levels keep noisy pictures small.
    palette = [round(k * 255 / 25) for k in range(26) for _ in range(3)]
    for colour in COLOURS.values():
        channels = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        palette += channels + [round(0.7 * c) for c in channels]
    chosen = Image.new("P", (1, 1))
    chosen.putpalette(palette)
    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(palette=chosen, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


def planes(out: Path) -> None:
    """An axial and a coronal plane of a scan, with and without outlines."""
    scan = Scan(5)
    tumour = next(x for x in scan.patient.lesions if x.kind == "tumor")
    axial = body(scan.axial(tumour.centre[0] - 5))
    coronal = scan.coronal(tumour.centre[1])
    coronal = (coronal[0][:, 60:452], coronal[1][:, 60:452])
    panels(
        out / "axial.png",
        [("axial", axial, False), ("axial, labels", axial, True)],
        2,
        390,
    )
    panels(
        out / "coronal.png",
        [("coronal", coronal, False), ("coronal, labels", coronal, True)],
        2,
        290,
    )


def phases(out: Path) -> None:
    """Four moments after the injection."""
    shown = []
    names = ("corticomedullary", "between the two", "nephrographic", "excretory")
    for index, name in zip((13, 22, 46, 17), names, strict=True):
        scan = Scan(index)
        height = scan.patient.kidneys[-1].centre[0]
        image, label = _resized(scan.cutout((height, 8.0, 0.0), 135.0), 280, 280)
        shown.append((name, (image[55:245], label[55:245]), False))
    panels(out / "phases.png", shown, 4, 205)


def masses(out: Path) -> None:
    """Kinds of tumours, cysts, and patients with one kidney or tumours on both sides."""
    kinds: list[tuple[int, str, str]] = [
        (58, "tumor", "small, 4 ml"),
        (31, "tumor", "clear cell, 19 ml"),
        (13, "tumor", "papillary, 72 ml"),
        (10, "tumor", "oncocytoma, 63 ml"),
        (9, "tumor", "angiomyolipoma, 89 ml"),
        (4, "tumor", "necrotic core, 652 ml"),
        (34, "cyst", "cysts"),
        (28, "cyst", "cyst of 36 ml"),
    ]
    shown = []
    for index, kind, title in kinds:
        scan = Scan(index)
        lesion = max((x for x in scan.patient.lesions if x.kind == kind), key=lambda x: x.volume_ml)
        half = 60.0 if lesion.volume_ml < 120 else 85.0
        shown.append((title, scan.around(lesion, half), True))
    panels(out / "masses.png", [(t, _resized(s, 170, 170), o) for t, s, o in shown], 4, 190)
    shown = []
    for index, title in ((30, "solitary kidney"), (23, "tumours in both kidneys")):
        scan = Scan(index)
        heights = [x.centre[0] for x in scan.patient.lesions if x.kind == "tumor"]
        heights += [scan.patient.kidneys[0].centre[0]] if len(scan.patient.kidneys) == 1 else []
        shown.append((title, _resized(body(scan.axial(float(np.mean(heights)))), 235, 350), True))
    panels(out / "both.png", shown, 2, 330)


def _resized(found: Slice, height: int, width: int) -> Slice:
    """The same cutout with other numbers of pixels, by repeating or leaving some out."""
    image, label = found
    rows = np.linspace(0, image.shape[0] - 1, height).astype(int)
    columns = np.linspace(0, image.shape[1] - 1, width).astype(int)
    return image[rows][:, columns], label[rows][:, columns]


def small(out: Path) -> None:
    """What the default run sees."""
    shown = []
    for index in (0, 3, 5, 7):
        case = render_case(index, labels="kits19")
        z = int(np.argmax((case.label == 2).sum((1, 2))))
        image, label = case.image[z, ::-1, ::-1], case.label[z, ::-1, ::-1]
        shown.append((f"case {index}", (image[8:54], label[8:54]), True))
    panels(out / "small.png", shown, 4, 200, nearest=True)


def measure(size: str, cases: int) -> dict[str, dict]:
    """Pooled HU and volumes of the labels over the first cases of seed 0."""
    hu: dict[int, list] = {value: [] for value in NAMES}
    ml: dict[int, list] = {value: [] for value in NAMES}
    for index in range(cases):
        patient, fields, frame = draw_case(index, size=size)
        low, high = patient.extent()
        part = frame.part(
            (low[0] - 9, low[1] - 9, low[2] - 9), (high[0] + 9, high[1] + 9, high[2] + 9)
        )
        image, label = render(patient, fields, part)
        for value in NAMES:
            inside = image[label == value]
            hu[value].append(inside)
            ml[value].append(inside.size * float(np.prod(frame.spacing)) / 1000)
    pooled = {value: np.concatenate(found) for value, found in hu.items()}
    return {
        "hu": {v: (h.mean(), h.std(), *np.percentile(h, (5, 50, 95))) for v, h in pooled.items()},
        "ml": {v: np.percentile([m for m in found if m > 0], QUANTILES) for v, found in ml.items()},
    }


def scans(cases: int) -> dict[str, np.ndarray]:
    """Quantiles of the geometry of full-size scans."""
    frames = [draw_case(index, size="full")[2] for index in range(cases)]
    found = [(*f.spacing[:2], f.shape[0], f.shape[0] * f.spacing[0]) for f in frames]
    return dict(zip(MEASURED_SCAN, np.percentile(found, QUANTILES, axis=0).T, strict=True))


def table(size: str, cases: int) -> str:
    """Simulated and measured statistics as Markdown."""
    found = measure(size, cases)
    lines = [f"| measure | KiTS | phantom, {cases} cases |", "| --- | ---: | ---: |"]

    def row(what: str, measured: Iterable, simulated: Iterable, digits: str) -> None:
        cells = [" / ".join(digits.format(float(v)) for v in c) for c in (measured, simulated)]
        lines.append(f"| {what} | {cells[0]} | {cells[1]} |")

    for value, name in NAMES.items():
        pair = MEASURED_HU[value], found["hu"][value]
        row(f"{name}, HU, mean / SD", *(t[:2] for t in pair), "{:.0f}")
        row(f"{name}, HU, 5 / 50 / 95 %", *(t[2:] for t in pair), "{:.0f}")
    for value, name in NAMES.items():
        pair = MEASURED_ML[value], found["ml"][value]
        row(f"{name}, ml, 5 / 25 / 50 / 75 / 95 %", *pair, "{:.3g}")
    for name, simulated in scans(cases).items():
        row(
            f"{name} (full size), 5 / 25 / 50 / 75 / 95 %",
            MEASURED_SCAN[name],
            simulated,
            "{:.3g}",
        )
    return "\n".join(lines) + "\n"


FIGURES = {f.__name__: f for f in (planes, phases, masses, small)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=[*FIGURES, "table"])
    parser.add_argument("--cases", type=int, default=40, help="cases of the table")
    parser.add_argument("--size", choices=["small", "full"], default="small", help="of the table")
    parser.add_argument("-o", "--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for what in options.what:
        if what == "table":
            text = table(options.size, options.cases)
            (options.out / "statistics.md").write_text(text, encoding="utf-8")
            print(text)
        else:
            FIGURES[what](options.out)


if __name__ == "__main__":
    main()
