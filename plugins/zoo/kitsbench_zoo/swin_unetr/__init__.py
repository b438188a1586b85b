"""Swin UNETR: windows of attention going down, convolutions going up, and its second version."""
