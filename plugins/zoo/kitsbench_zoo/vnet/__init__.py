"""V-Net: residual stages of large convolutions (Milletari et al. 2016)."""
