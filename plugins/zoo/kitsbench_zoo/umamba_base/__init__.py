"""U-Mamba without Mamba: the residual U-Net that it is built on (Ma et al. 2024)."""
