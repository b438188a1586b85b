"""MSAN (Sun et al. 2019): a 3D U-Net with multi-scale attention, and the vote of five."""
