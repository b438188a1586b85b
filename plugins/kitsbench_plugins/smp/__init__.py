"""Decoders and encoders of segmentation-models-pytorch-3d."""
