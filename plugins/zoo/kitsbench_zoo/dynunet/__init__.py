"""DynUNet: MONAI's U-Net after nnU-Net, with deep supervision."""
