"""3D U-Net (Cicek et al. 2016)."""
