"""SCAU U-Net: spatial and channel attention in a U-Net."""
