# SPDX-License-Identifier: Apache-2.0
"""What the C interface of `fortran_bridge/` calls in Python.

entry    one function for each call of the C header
arrays   views of host memory
mpi      the host's communicator as one of mpi4py
startup  what must fit before the first call
"""

#: version of the C interface that this package speaks, `COUPLER_ABI_VERSION` of the header
ABI_VERSION = 1
