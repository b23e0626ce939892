"""The facade of the compiled core; the ``.pyx`` sources lie in ``src/_native``.

Kernels work on numpy arrays and C structs and know nothing of pods. Import them through here only.
"""
