"""U-Net++: skips that pass through nested blocks (Zhou et al. 2018)."""
