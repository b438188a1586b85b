"""``kitsbench export``: a trained network for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from kitsbench.cli.completion import trials
from kitsbench.cli.options import (
    experiment_option,
    out_option,
    plugin_option,
    workdir_option,
)
from kitsbench.cli.output import say, tell


@click.command("export")
@click.argument("trial", metavar="TRIAL", shell_complete=trials)
@click.option(
    "--to",
    "formats",
    multiple=True,
    type=click.Choice(["torchscript", "onnx", "monai-bundle", "safetensors"]),
    default=("torchscript",),
    show_default=True,
    help="Format; may be given several times.",
)
@out_option("Folder that is written.", required=True)
@plugin_option
@workdir_option("Where the trial is.")
@experiment_option
def command(
    trial: str,
    formats: tuple[str, ...],
    out: Path,
    plugins: tuple[Path, ...],
    workdir: Path,
    experiment: str | None,
) -> None:
    """Write a trained network for programs that know nothing of kitsbench.

    TRIAL is a trial's id, its first letters or its folder; `kitsbench trials` lists them. The
    network takes HU of a patch and gives probabilities: intensity window, activation and mirroring
    are inside. Beside it lie kitsbench.json, which says how scans are resampled, how tiles are
    blended and which channel is which label, and a card with the trial's scores. A MONAI bundle
    does all of that by itself. Safetensors are the weights alone, which model hubs take with the
    card. Each network is read back and compared before the folder appears.
    """
    from kitsbench.errors import UsageError
    from kitsbench.experiments.predict import find_trials
    from kitsbench.exporting import export_trial

    chosen = find_trials(trial, workdir, experiment=experiment)
    if len(chosen.folders) > 1:
        names = ", ".join(folder.name[:8] for folder in chosen.folders[:6])
        raise UsageError(
            f"'{trial}' stands for {len(chosen.folders)} trials ({names}); export one of them."
        )
    done = export_trial(chosen.folders[0], out, formats, plugins, tell)
    for name, worst in done.differences.items():
        tell(f"{name}: read back, at most {worst:.2g} from the trained network in a probability.")
    say(done.folder)
