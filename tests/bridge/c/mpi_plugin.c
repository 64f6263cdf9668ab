/* SPDX-License-Identifier: Apache-2.0 */
/* A host that is itself loaded with RTLD_LOCAL, MPI and all: compiled as a library that starts MPI and the coupler. */
#include <mpi.h>
#include <stdio.h>

#include "coupler_plugin.h"

int run_host(const char *config);

int run_host(const char *config)
{
    int32_t id = 1;
    double tas = 1.0, lai = -9.0;
    coupler_array number = {.data = &id, .type = COUPLER_INT32}, temperature = {.data = &tas, .type = COUPLER_REAL64},
                  leaf = {.data = &lai, .type = COUPLER_REAL64};
    char message[4096] = "";
    int coupler, comm, rc;

    MPI_Init(NULL, NULL);
    comm = MPI_Comm_c2f(MPI_COMM_SELF);
    rc = coupler_init(config, &comm, "2001-01-01", 3600.0, &coupler);
    if (!rc) rc = coupler_set_cells(coupler, &number, &temperature, &temperature, NULL);
    if (!rc) rc = coupler_bind(coupler, "tas", &temperature, NULL);
    if (!rc) rc = coupler_bind(coupler, "lai", &leaf, NULL);
    if (!rc) rc = coupler_step(coupler);
    if (!rc) rc = coupler_finalize(coupler);
    coupler_get_message(0, message, sizeof message);
    printf("rc=%d\nanswer=%g\nmessage=%s\n", rc, lai, message);
    MPI_Finalize();
    return 0;
}
