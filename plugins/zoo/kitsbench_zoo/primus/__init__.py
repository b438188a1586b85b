"""Primus: a transformer without convolutions but for its ends (Wald et al. 2025)."""
