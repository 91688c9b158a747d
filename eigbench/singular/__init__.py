"""Functions of rectangular matrices, real or complex, and of their singular values."""
