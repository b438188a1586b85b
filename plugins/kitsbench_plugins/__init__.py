"""Reference architectures of kitsbench, one folder a family."""
