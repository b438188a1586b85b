"""What the larger verbs show.

In: plans, experiments, comparisons and scores. Out: lines and tables on a terminal, or JSON.
"""
