"""nnU-Net: networks whose shape is planned from patch and spacing (Isensee et al. 2021)."""
