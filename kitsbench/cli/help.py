"""Help of verbs with many options: in groups by what they decide, with examples below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class Grouped(click.Command):
    """A command whose options stand in groups.

    Parameters
    ----------
    *args, **options
        As of :class:`click.Command`.
    groups : mapping of str to sequence of str
        Heading to options, by their long names. What is named nowhere stands in a last group.
    examples : mapping of str to str
        What one wants, to the command that does it.
    """

    REST = "Others"

    def __init__(
        self,
        *args: Any,
        groups: Mapping[str, Sequence[str]],
        examples: Mapping[str, str],
        **options: Any,
    ):
        super().__init__(*args, **options)
        self.groups, self.examples = dict(groups), dict(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group, and the examples."""
        known = {name: p for p in self.get_params(ctx) for name in p.opts}
        told: set[str] = set()
        for heading, names in self.groups.items():
            self._write(ctx, formatter, heading, [known[name] for name in names])
            told |= {str(known[name].name) for name in names}
        rest = [p for p in self.get_params(ctx) if str(p.name) not in told]
        self._write(ctx, formatter, self.REST, rest)
        with formatter.section("Examples"):
            for what, command in self.examples.items():
                formatter.write_text(f"{what}:")
                formatter.indent()
                formatter.write(f"{'':{formatter.current_indent}}{command}\n")
                formatter.dedent()

    def _write(
        self,
        ctx: click.Context,
        formatter: click.HelpFormatter,
        heading: str,
        parameters: Sequence[click.Parameter],
    ) -> None:
        rows = [row for p in parameters if (row := p.get_help_record(ctx)) is not None]
        if rows:
            with formatter.section(heading):
                formatter.write_dl(rows)


class Verbs(click.Group):
    """A group of verbs that lists each with the whole first sentence of its help."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs; click alone cuts their sentences."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, verb.get_short_help_str(limit=10_000))
            for name, verb in verbs
            if verb is not None and not verb.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
