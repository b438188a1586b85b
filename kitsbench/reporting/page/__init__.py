"""What a page says beside scores and costs: what its numbers are, verdicts, stability, cases.

In: an analysis. Out: facts, tables and rows of figures.
"""
