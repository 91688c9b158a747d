"""Why a gradient through an eigendecomposition is NaN or wrong, on the user's own matrices."""
