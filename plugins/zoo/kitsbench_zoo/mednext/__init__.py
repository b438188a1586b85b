"""MedNeXt: depthwise convolutions that widen and narrow (Roy et al. 2023)."""
