"""From a request to trials.

In: a request. Out: entrants, their data and folds, and tasks with ids.
"""
