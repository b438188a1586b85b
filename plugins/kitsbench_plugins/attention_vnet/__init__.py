"""Attention VNet (Tureckova et al. 2019), and the assembly of its two resolutions."""
