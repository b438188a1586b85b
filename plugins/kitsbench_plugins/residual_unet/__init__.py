"""Residual U-Net (Kerfoot et al. 2018), the baseline of the SCAU U-Net paper."""
