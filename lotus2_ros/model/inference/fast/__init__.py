"""FLUX's transformer on a GPU: what lies between the matrix products in as few passes as can be."""
