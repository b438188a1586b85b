"""UNETR: a vision transformer over blocks of voxels, whose layers feed a convolutional decoder."""
