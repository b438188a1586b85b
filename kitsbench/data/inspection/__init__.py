"""What is in a dataset, and what is wrong with it.

In: a dataset. Out: findings, statistics and figures beside those of the public data.
"""
