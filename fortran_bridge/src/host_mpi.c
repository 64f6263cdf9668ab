/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file host_mpi.c
 * The MPI that the host runs, looked up by name at run time.
 *
 * The library is not linked with MPI, so that one build serves serial hosts and every MPI; a rank and a clean abort are
 * all it needs. The Fortran names come first, because there a communicator is an integer in every MPI. A C host has
 * only the C names: Open MPI's communicators are pointers, those of MPICH and its kin are the Fortran integers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include "internal.h"

typedef void *(*handle_from_fortran)(int);

static void *symbol(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

static int is_open_mpi(void)
{
    return symbol("ompi_mpi_comm_world") != NULL;
}

/* The Fortran handle of MPI_COMM_WORLD, where the host gave no communicator. */
static int world(void)
{
    return is_open_mpi() ? 0 : 0x44000000;
}

static int is_running(void)
{
    int (*initialized)(int *), (*finalized)(int *);
    int begun = 0, ended = 1;

    *(void **)&initialized = symbol("MPI_Initialized");
    *(void **)&finalized = symbol("MPI_Finalized");
    if (!initialized || !finalized) return 0;
    initialized(&begun);
    finalized(&ended);
    return begun && !ended;
}

int coupler_host_mpi_rank(const int *comm)
{
    void (*fortran_rank)(int *, int *, int *);
    int (*pointer_rank)(void *, int *), (*integer_rank)(int, int *);
    handle_from_fortran from_fortran;
    int handle = comm ? *comm : world(), rank = -1, error = 0;

    if (!is_running()) return -1;
    *(void **)&fortran_rank = symbol("mpi_comm_rank_");
    if (fortran_rank) {
        fortran_rank(&handle, &rank, &error);
    } else if (is_open_mpi()) {
        *(void **)&from_fortran = symbol("MPI_Comm_f2c");
        *(void **)&pointer_rank = symbol("MPI_Comm_rank");
        pointer_rank(from_fortran(handle), &rank);
    } else {
        *(void **)&integer_rank = symbol("MPI_Comm_rank");
        integer_rank(handle, &rank);
    }
    return rank;
}

void coupler_host_mpi_abort(const int *comm, int code)
{
    void (*fortran_abort)(int *, int *, int *);
    int (*pointer_abort)(void *, int), (*integer_abort)(int, int);
    handle_from_fortran from_fortran;
    int handle = comm ? *comm : world(), error = 0;

    if (!is_running()) return;
    *(void **)&fortran_abort = symbol("mpi_abort_");
    if (fortran_abort) {
        fortran_abort(&handle, &code, &error);
    } else if (is_open_mpi()) {
        *(void **)&from_fortran = symbol("MPI_Comm_f2c");
        *(void **)&pointer_abort = symbol("MPI_Abort");
        pointer_abort(from_fortran(handle), code);
    } else {
        *(void **)&integer_abort = symbol("MPI_Abort");
        integer_abort(handle, code);
    }
}

/* Loaded libraries of MPI: libmpi.so.40, libmpi_mpifh.so.40, libmpich.so.12, libmpifort.so.12 ... */
struct libraries {
    const char *path[16];
    size_t count;
};

static int collect(struct dl_phdr_info *library, size_t size, void *found)
{
    struct libraries *libraries = found;
    const char *slash = strrchr(library->dlpi_name, '/');

    (void)size;
    if (slash && strncmp(slash + 1, "libmpi", 6) == 0 && libraries->count < 16)
        libraries->path[libraries->count++] = library->dlpi_name;
    return 0;
}

void coupler_host_mpi_publish(void)
{
    struct libraries libraries = {.count = 0};

    if (symbol("MPI_Initialized")) return;
    dl_iterate_phdr(collect, &libraries);
    for (size_t i = 0; i < libraries.count; i++) dlopen(libraries.path[i], RTLD_LAZY | RTLD_NOLOAD | RTLD_GLOBAL);
}
