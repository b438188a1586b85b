"""Orders of architectures.

In: blocks of all. Out: ranks with their stability, and other schemes.
"""
