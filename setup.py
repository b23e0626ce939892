"""Builds the compiled core: one extension for each file of ``src/_native``.

``COXSWAIN_DEBUG_NATIVE=1`` builds with bounds checks, for hunting a bad index in a debugger.
``COXSWAIN_SANITIZE=1`` builds with bounds checks, AddressSanitizer and UndefinedBehaviorSanitizer, and leaves the
arithmetic as it is; ``make sanitize`` builds so beside the ordinary build, and runs the tests with it.
"""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("COXSWAIN_DEBUG_NATIVE") == "1"
SANITIZE = os.environ.get("COXSWAIN_SANITIZE") == "1"
SANITIZERS = "-fsanitize=address,undefined,float-cast-overflow,float-divide-by-zero"
# -O3 lets gcc vectorise the mask and score loops; no -march=native, so that a wheel runs anywhere; no fused
# multiply-add, which rounds otherwise than Go and numpy do; and integers that wrap, as theirs do.
COMPILE_ARGS = ["-O3", "-fno-math-errno", "-ffp-contract=off", "-fwrapv"]
LINK_ARGS: list[str] = []
BUILD_DIR = "build/cython"
if SANITIZE:
    # A sum that wraps is reported too, though it is defined: none is meant to.
    COMPILE_ARGS = ["-O1", "-g", "-fno-omit-frame-pointer", "-ffp-contract=off", "-fno-wrapv"]
    COMPILE_ARGS += [SANITIZERS, "-fno-sanitize-recover=all"]
    LINK_ARGS = [SANITIZERS]
    BUILD_DIR = "build/sanitize/cython"
elif DEBUG:
    COMPILE_ARGS = ["-O0", "-g"]

extensions = [
    Extension(
        f"coxswain._native.{source.stem}",
        [source.as_posix()],
        include_dirs=[numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=COMPILE_ARGS,
        extra_link_args=LINK_ARGS,
    )
    for source in sorted(Path("src/_native").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["src"],
        build_dir=BUILD_DIR,
        emit_linenums=SANITIZE,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG or SANITIZE,
            "wraparound": False,
            "cdivision": not DEBUG,
            "initializedcheck": DEBUG or SANITIZE,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
    ),
)
