/* SPDX-License-Identifier: Apache-2.0 */
/* An MPI host in C alone, where no Fortran name of MPI is loaded: an error on rank 1 stops all ranks. */
#include <mpi.h>
#include <stdio.h>

#include "coupler_plugin.h"

int main(int argc, char **argv)
{
    int rank, coupler, comm, rc;
    int32_t id;
    double tas = 1.0, lai = -9.0;
    coupler_array number = {.data = &id, .type = COUPLER_INT32}, temperature = {.data = &tas, .type = COUPLER_REAL64},
                  leaf = {.data = &lai, .type = COUPLER_REAL64};

    MPI_Init(&argc, &argv);
    if (argc < 2) return 2;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    id = rank + 1;
    comm = MPI_Comm_c2f(MPI_COMM_WORLD);
    rc = coupler_init(argv[1], &comm, "2001-01-01", 3600.0, &coupler);
    if (!rc) rc = coupler_set_cells(coupler, &number, &temperature, &temperature, NULL);
    if (!rc) rc = coupler_bind(coupler, "tas", &temperature, NULL);
    if (!rc) rc = coupler_bind(coupler, "lai", &leaf, NULL);
    if (!rc) rc = coupler_step(coupler);
    if (rank == 0) printf("rc=%d\nanswer=%g\n", rc, lai);
    fflush(stdout);
    if (rank == 1) coupler_bind(coupler, "tass", &temperature, NULL);
    MPI_Barrier(MPI_COMM_WORLD);
    printf("went_on=1\n");
    MPI_Finalize();
    return 0;
}
