"""Builds what is compiled; everything else is in pyproject.toml."""

import os
import shutil
import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# SKATTRIB_CHECK=1 compiles bounds checks into the Cython code and the C kernels (slow; for tests),
# as far optimized and with what debug information CFLAGS says
check = os.environ.get("SKATTRIB_CHECK", "0") == "1"

# On Windows clang-cl, which Visual Studio offers as "C++ Clang tools", builds the vector kernels.
# Microsoft's cl has no vectors and builds one lane at a time, ten times slower than AVX-512.
compiler = None
if sys.platform == "win32":
    compiler = os.environ.get("CC") or shutil.which("clang-cl")

if compiler and "clang-cl" in compiler:
    optimized, link = ["/O2", "/clang:-O3", "/clang:-fno-math-errno"], []
elif sys.platform == "win32":
    optimized, link = ["/O2"], []
else:
    # no debug information, which the flags of CPython ask for: it is three quarters of a wheel
    optimized = ["-O3", "-g0", "-fno-math-errno"]
    link = ["-Wl,-s"] if sys.platform.startswith("linux") else []
# what waits for memory is as fast, and with Cython's code for arrays half the size
small = optimized if sys.platform == "win32" else [*optimized, "-Os"]
if check:
    optimized, small, link = [], [], []

options = {
    "include_dirs": ["csrc"],
    "define_macros": [("CS_CHECK", "1")] if check else [],
    "extra_compile_args": optimized,
    "extra_link_args": link,
}
extensions = [
    Extension(
        "skattrib._svm._crammer_singer",
        ["csrc/crammer_singer.pyx", "csrc/dispatch.c", *sorted(glob("csrc/kernels_*.c"))],
        depends=sorted(glob("csrc/*.h") + glob("csrc/*.inc") + glob("csrc/*.pxd")),
        **options,
    ),
    Extension("skattrib._arrays._csr", ["csrc/csr.pyx"], **options | {"extra_compile_args": small}),
    Extension("skattrib.explainers._scoring_kernels", ["csrc/scoring.pyx"], **options),
    Extension("skattrib.gradients._sketch_kernels", ["csrc/sketch.pyx"], **options),
]
for extension in extensions:
    extension.cython_directives = {
        "language_level": "3",
        "boundscheck": check,
        "wraparound": False,
        "initializedcheck": check,
        "cdivision": True,
    }


class BuildExt(build_ext):
    """Builds in place too, so that ``python -m skattrib`` works inside a checkout."""

    def run(self):
        """Build, then copy into the source tree."""
        super().run()
        self.copy_extensions_to_source()

    def build_extensions(self):
        """Build with the compiler that CC names on Windows too, or with clang-cl if it is there."""
        if compiler and self.compiler.compiler_type == "msvc":
            if not self.compiler.initialized:
                self.compiler.initialize(self.plat_name)
            self.compiler.cc = compiler
        super().build_extensions()


setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildExt},
    options={"build_ext": {"force": check}},
)
