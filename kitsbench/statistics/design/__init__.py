"""What a design can see.

In: variance components. Out: detectable gaps, power, seeds needed.
"""
