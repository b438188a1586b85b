"""STU-Net: one residual U-Net from 14 million to 1.4 billion parameters (Huang et al. 2023)."""
