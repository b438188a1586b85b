"""The verbs of statistics: compare scores, plan a study, measure the tests' error rates.

In: tables of scores, working directories, designs. Out: verdicts, seeds to run, error rates.
"""
