"""Boundary-aware network: a residual encoder-decoder with an attention-gated edge stream."""
