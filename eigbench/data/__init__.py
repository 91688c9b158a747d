"""Real input: the small CIFAR-10 set that ships with the package, and files of matrices."""
