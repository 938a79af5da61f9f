//! Vectors of an independent implementation, made by `tests/vectors/make_vectors.py`.
