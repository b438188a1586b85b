"""What a report is asked for, where that is less than the whole experiment.

In: results, and names that a user gave. Out: the results of what was asked for, and the sentences
that say what was left out and what that does to the verdicts.
"""
