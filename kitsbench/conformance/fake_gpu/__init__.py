"""A step of training on CUDA tensors that have no values, where there is no GPU.

In: a plugin and its spec. Out: where the host would wait for a GPU, and what a GPU refuses.
"""
