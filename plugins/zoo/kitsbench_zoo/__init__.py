"""Networks that reviewers ask for, from MONAI and others, one folder a family."""
