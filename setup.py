"""Builds the compiled core: one extension for each file of ``src/_native``.

``COXSWAIN_DEBUG_NATIVE=1`` builds with bounds checks and line tracing, for hunting a bad index.
"""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("COXSWAIN_DEBUG_NATIVE") == "1"
# -O3 lets gcc vectorise the mask and score loops; no -march=native, so that a wheel runs anywhere; and no fused
# multiply-add, which rounds otherwise than Go and numpy do.
COMPILE_ARGS = ["-O0", "-g"] if DEBUG else ["-O3", "-fno-math-errno", "-ffp-contract=off"]

extensions = [
    Extension(
        f"coxswain._native.{source.stem}",
        [source.as_posix()],
        include_dirs=[numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=COMPILE_ARGS,
    )
    for source in sorted(Path("src/_native").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["src"],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": not DEBUG,
            "initializedcheck": DEBUG,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
    ),
)
