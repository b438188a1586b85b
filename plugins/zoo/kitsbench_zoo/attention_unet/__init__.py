"""Attention U-Net: skips that are weighted by a gate (Oktay et al. 2018)."""
