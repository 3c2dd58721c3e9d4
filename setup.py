"""Builds the native kernels if a C++ compiler is present; pyproject.toml holds everything else.

The result is one shared library with a C interface. It links neither torch nor Python, so one wheel
serves every version of both. CXX names the compiler, RAMGRU_CXXFLAGS and RAMGRU_LDFLAGS add flags,
and RAMGRU_ISAS="baseline avx2" selects instruction sets.
"""

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

KERNELS = Path("src/ramgru/kernels")
NATIVE = KERNELS / "native"
COMMON = ["-std=c++17", "-O3", "-g0", "-fvisibility=hidden"]
COMMON += ["-fno-math-errno", "-fno-trapping-math"]
X86 = {
    "avx512": (
        64,
        ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprfchw"],
    ),
    "avx2": (32, ["-mavx2", "-mfma", "-mprfchw"]),
}
BASELINE = {"baseline": (16, [])}  # the compiler's default: SSE2 on x86-64, NEON on arm64


class BuildKernels(build_ext):
    def build_extension(self, ext):
        target = Path(self.get_ext_fullpath(ext.name))
        target.unlink(missing_ok=True)  # so that a failed build leaves no old library
        if self.compiler.compiler_type != "unix":
            raise CompileError("the native kernels need GCC or Clang")  # optional: a warning
        common = COMMON + os.environ.get("RAMGRU_CXXFLAGS", "").split()

        def compile_one(unit):
            source, name, flags = unit
            return self.compiler.compile(
                [str(NATIVE / source)],
                output_dir=os.path.join(self.build_temp, name),
                extra_postargs=[*common, *flags],
            )

        # The baseline comes first: linkers keep the first copy of a function that all sets share.
        units = [("library.cpp", "library", [])]
        isas = BASELINE | (X86 if platform.machine() in ("x86_64", "AMD64") else {})
        wanted = os.environ.get("RAMGRU_ISAS", " ".join(isas)).split()
        for isa in [isa for isa in isas if isa in wanted]:
            width, flags = isas[isa]
            defines = [f"-DRAMGRU_ISA={isa}", f"-DRAMGRU_VECTOR_BYTES={width}"]
            units.append(("kernels.cpp", isa, [*defines, *flags]))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = [made for some in pool.map(compile_one, units) for made in some]
        target.parent.mkdir(parents=True, exist_ok=True)
        link = os.environ.get("RAMGRU_LDFLAGS", "").split()
        self.compiler.link_shared_object(
            objects, str(target), extra_postargs=[*link, "-pthread"], target_lang="c++"
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
            sources=[str(NATIVE / name) for name in ("library.cpp", "kernels.cpp")],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": AnyPython},
)
