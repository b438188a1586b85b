"""What a network is trained on.

In: prepared volumes, a recipe, (seed, step). Out: batches of augmented patches.
"""
