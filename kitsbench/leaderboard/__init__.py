"""Published entries: what one holds, and how they are added, checked and rendered.

In: a working directory whose trials have ended. Out: entries as JSON, and their boards in Markdown.
"""

from kitsbench.leaderboard.board import Problem, add_entries, check_boards, read_board
from kitsbench.leaderboard.markdown import render_boards
from kitsbench.leaderboard.schema import Entry

__all__ = ["Entry", "Problem", "add_entries", "check_boards", "read_board", "render_boards"]
