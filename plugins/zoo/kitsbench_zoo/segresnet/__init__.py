"""SegResNet: a residual encoder and a small decoder (Myronenko 2018), and with deep supervision."""
