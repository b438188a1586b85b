"""How often the tests err.

In: simulated studies. Out: measured rates beside their bands.
"""
