"""The file that ``kitsbench run --config`` reads: it sets options, as the command line does."""

from __future__ import annotations

from typing import Any

import click

from kitsbench.cli.values import Folds, Patch, Spacing
from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief, read_toml

EXECUTOR_SECTION = "kitsbench.executor"
TUNE_SECTION = "kitsbench.tune"
PREDICTIONS_SECTION = "kitsbench.predictions"


def _read(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    """Let the file set the defaults of the options; the command line goes before."""
    if path is None:
        return
    try:
        content = read_toml(path, finite=False)  # the types of the options tell what is wrong
    except OSError as error:
        raise UsageError(f"The configuration {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"The configuration {path} is no TOML: {error}.") from error
    # What they set, sections of their own do.
    hidden = (param.name, "executor_option", "slurm", "ray", "predictions", None)
    known = {p.name: p for p in ctx.command.params if p.name not in hidden}
    defaults: dict[str, Any] = {}
    for key, setting in content.items():
        name = {"all": "all_installed", "json": "as_json"}.get(key, key).replace("-", "_")
        if name == "executor" and isinstance(setting, dict):
            # A section: the executor's name, and its options.
            ctx.meta[EXECUTOR_SECTION] = setting
            if "name" not in setting:
                raise UsageError(f'{path}: the section [executor] has no name = "...".')
            setting = setting["name"]
        if name == "tune" and isinstance(setting, dict):
            ctx.meta[TUNE_SECTION] = setting
            continue
        if name == "predictions" and isinstance(setting, dict):
            ctx.meta[PREDICTIONS_SECTION] = setting
            continue
        if name not in known:
            options = ", ".join(sorted(p.opts[-1].lstrip("-") for p in known.values()))
            raise UsageError(f"{path} sets '{brief(key)}', which is no option of run: {options}.")
        try:
            defaults[name] = _fitting(known[name], setting)
        except ValueError as error:
            shown = brief(repr(setting))
            raise UsageError(f"{path}: {key} = {shown} is wrong; write {error}.") from error
    ctx.default_map = {**(ctx.default_map or {}), **defaults}


def _fitting(param: click.Parameter, setting: Any) -> Any:
    """Give what TOML holds the form in which click takes it; a ValueError says what is right."""
    plain = (str, int, float)
    if isinstance(param, click.Option) and param.is_flag:
        if not isinstance(setting, bool):
            raise ValueError("true or false")
        return setting
    whole = isinstance(param.type, click.types.IntParamType)
    listed = isinstance(setting, list)
    values = setting if listed else [setting]
    if any(isinstance(value, str) and "\0" in value for value in values):
        raise ValueError("a text without a NUL, which no name can hold")
    # Python takes true for a number, TOML does not; click would cut 1.5 to a whole number.
    if not all(isinstance(v, plain) and not isinstance(v, bool) for v in values) or (
        whole and not all(isinstance(v, str | int) for v in values)
    ):
        raise ValueError("a whole number" if whole else "a number or a text")
    if param.nargs == -1 or (isinstance(param, click.Option) and param.multiple):
        return values
    if not listed or isinstance(param.type, Patch | Spacing | Folds):
        return setting
    if not isinstance(param.type, click.types.StringParamType):
        raise ValueError("one value, no list")
    return ",".join(map(str, setting))  # such as the GPUs of --device


config_option = click.option(
    "--config",
    is_eager=True,
    expose_value=False,
    callback=_read,
    metavar="FILE.toml",
    help="File that sets any of these options.",
)


def sections(executor: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the sections ``[executor]`` and ``[tune]`` of the file hold, for the running verb.

    Options of an executor are none of another one that the command line has put in its place.
    """
    meta = click.get_current_context().meta
    section = meta.get(EXECUTOR_SECTION, {})
    own = {key: value for key, value in section.items() if key != "name"}
    return own if section.get("name") == executor else {}, meta.get(TUNE_SECTION, {})


def predictions_section() -> dict[str, Any]:
    """What the section ``[predictions]`` of the file holds, for the running verb."""
    return dict(click.get_current_context().meta.get(PREDICTIONS_SECTION, {}))
