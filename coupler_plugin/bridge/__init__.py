# SPDX-License-Identifier: Apache-2.0
"""What the C interface of `fortran_bridge/` calls in Python, and where its libraries are installed.

entry    one function for each call of the C header
arrays   views of host memory
mpi      the host's communicator as one of mpi4py
startup  what must fit before the first call
"""

import sysconfig
from pathlib import Path

#: version of the C interface that this package speaks, `COUPLER_ABI_VERSION` of the header
ABI_VERSION = 1


def prefix() -> Path:
    """Return the folder that holds `lib/`, `include/` and `share/` of the native parts.

    Raises
    ------
    FileNotFoundError
        where the package was installed without them.
    """
    package = Path(__file__).parents[1]
    # beside the package; in site-packages for an editable installation; above it for a plain `cmake --install`
    candidates = [package, Path(sysconfig.get_path("platlib"), "coupler_plugin"), *package.parents[2:4]]
    for candidate in candidates:
        if (candidate / "lib" / "libcoupler_plugin.so").exists():
            return candidate
    raise FileNotFoundError(
        f"libcoupler_plugin.so is in none of {', '.join(str(candidate / 'lib') for candidate in candidates)}; "
        "install coupler_plugin with pip, which builds it."
    )
