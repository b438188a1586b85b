"""``python -m kitsbench.cli``."""

from kitsbench.cli import main

main()
