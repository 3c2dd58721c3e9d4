"""Builds the native kernels where there is a C++ compiler; everything else is in pyproject.toml.

The result is one shared library with a plain C interface. It links neither torch nor Python, so one
wheel serves every version of both.
"""

import os
import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

KERNELS = Path("src/ramgru/kernels")
COMMON = ["-std=c++17", "-O3", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math"]
X86 = {
    "avx512": (64, ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"]),
    "avx2": (32, ["-mavx2", "-mfma"]),
}
BASELINE = {"baseline": (16, [])}  # the compiler's default: SSE2 on x86-64, NEON on arm64


class BuildKernels(build_ext):
    def build_extension(self, ext):
        if self.compiler.compiler_type != "unix":
            raise OSError("the native kernels need GCC or Clang")  # `optional` makes it a warning
        common = COMMON + os.environ.get("RAMGRU_CXXFLAGS", "").split()

        def compile_one(source, name, flags):
            return self.compiler.compile(
                [str(KERNELS / "native" / source)],
                output_dir=os.path.join(self.build_temp, name),
                extra_postargs=[*common, *flags],
                depends=ext.depends,
            )

        # The baseline comes first: of a function that all sets instantiate, linkers keep the first.
        objects = compile_one("library.cpp", "library", [])
        isas = BASELINE | (X86 if platform.machine() in ("x86_64", "AMD64") else {})
        for isa, (width, flags) in isas.items():
            defines = [f"-DRAMGRU_ISA={isa}", f"-DRAMGRU_VECTOR_BYTES={width}"]
            objects += compile_one("kernels.cpp", isa, [*defines, *flags])
        target = self.get_ext_fullpath(ext.name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        link = os.environ.get("RAMGRU_LDFLAGS", "").split()
        self.compiler.link_shared_object(
            objects, target, extra_postargs=[*link, "-pthread"], target_lang="c++"
        )

    def get_ext_filename(self, ext_name):
        return os.path.join(*ext_name.split(".")) + ".so"  # loaded by ctypes, not imported


class AnyPython(bdist_wheel):
    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            "ramgru.kernels.native.library",
            sources=[str(KERNELS / "native" / name) for name in ("library.cpp", "kernels.cpp")],
            depends=sorted(str(header) for header in KERNELS.rglob("*.h")),
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": AnyPython},
)
