"""A plain Flower app for PyTorch. Nothing in it knows Folkmoot."""
