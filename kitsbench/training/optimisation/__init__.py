"""What moves the weights: stages and their optimisers, parts of a batch, scaled losses, averages.

In: gradients. Out: a step, taken again in more parts where memory ran out.
"""
