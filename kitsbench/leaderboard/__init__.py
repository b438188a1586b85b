"""Published entries: what one holds, and how they are added, checked and rendered.

In: a working directory whose trials have ended. Out: entries as JSON, each with the scores of its
cases beside it, and their boards in Markdown. Nothing that an entry says is believed where it can
be worked out.
"""

from kitsbench.leaderboard.board import Problem, add_entries, check_boards, read_board
from kitsbench.leaderboard.markdown import render_boards
from kitsbench.leaderboard.rules import Rules, read_rules, written_rules
from kitsbench.leaderboard.schema import Entry

__all__ = [
    "Entry",
    "Problem",
    "Rules",
    "add_entries",
    "check_boards",
    "read_board",
    "read_rules",
    "render_boards",
    "written_rules",
]
