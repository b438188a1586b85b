"""What a call of ``kitsbench run`` spends its wall time on.

In: what is being done, and the events of trials. Out: an account that adds up to the wall time.
"""
