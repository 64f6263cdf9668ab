# SPDX-License-Identifier: Apache-2.0
"""A recipe for Spack: copy it to packages/py-coupler-plugin/package.py of a repository of yours."""

from spack.package import *


class PyCouplerPlugin(PythonPackage):
    """Learned emulators inside Fortran land-surface and Earth-system models, from one YAML file."""

    license("Apache-2.0")
    version("main", branch="main")

    variant("mpi", default=True, description="several ranks")
    variant("zarr", default=False, description="forcing and history as Zarr")
    variant("plot", default=False, description="pictures of results")

    depends_on("c", type="build")
    depends_on("fortran", type="build")
    depends_on("cmake@3.18:", type="build")
    depends_on("py-scikit-build-core@0.10:", type="build")
    depends_on("py-cffi@1.17:", type=("build", "run"))
    depends_on("python@3.11: +shared", type=("build", "link", "run"))

    depends_on("py-cf-units@3.2:", type="run")
    depends_on("py-cftime@1.6:", type="run")
    depends_on("py-click@8.1:", type="run")
    depends_on("py-netcdf4@1.6.5:", type="run")
    depends_on("py-numpy@1.26:", type="run")
    depends_on("py-pydantic@2.5:", type="run")
    depends_on("py-pyyaml@6:", type="run")
    depends_on("py-rich@13:", type="run")
    depends_on("py-scipy@1.11:", type="run")
    depends_on("py-torch@2.6:", type="run")
    depends_on("py-xarray@2023.6:", type="run")

    depends_on("mpi", when="+mpi", type="run")
    depends_on("py-mpi4py@4:", when="+mpi", type="run")
    depends_on("py-zarr@3:", when="+zarr", type="run")
    depends_on("py-matplotlib@3.8:", when="+plot", type="run")

    import_modules = ["coupler_plugin"]
