/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file host_mpi.c
 * The MPI that the host runs, looked up by name at run time.
 *
 * The library is not linked with MPI, so that one build serves serial hosts and every MPI; a rank for messages and a
 * clean abort are all it needs. Both are asked of MPI_COMM_WORLD, which needs no trust in what the host has given, and
 * whose C handle is the address of a symbol in Open MPI, a number in MPICH and its kin and in the ABI of MPI 5.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

#include "internal.h"

#define MPICH_COMM_WORLD 0x44000000
#define MPI5_COMM_WORLD 0x101

static void *symbol(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
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

/* MPI_COMM_WORLD where handles are pointers; NULL where they are integers. */
static void *world(void)
{
    if (symbol("ompi_mpi_comm_world")) return symbol("ompi_mpi_comm_world");
    return symbol("MPI_Abi_get_version") ? (void *)(uintptr_t)MPI5_COMM_WORLD : NULL;
}

/* What a function such as MPI_Comm_rank says of MPI_COMM_WORLD; -1 where MPI is not running. */
static int ask(const char *function)
{
    int (*with_pointer)(void *, int *), (*with_integer)(int, int *);
    int answer = -1;

    if (!is_running()) return answer;
    *(void **)&with_pointer = *(void **)&with_integer = symbol(function);
    if (world())
        with_pointer(world(), &answer);
    else
        with_integer(MPICH_COMM_WORLD, &answer);
    return answer;
}

int coupler_host_mpi_rank(void)
{
    return ask("MPI_Comm_rank");
}

int coupler_host_mpi_size(void)
{
    return ask("MPI_Comm_size");
}

void coupler_host_mpi_abort(int code)
{
    int (*with_pointer)(void *, int), (*with_integer)(int, int);

    if (!is_running()) return;
    *(void **)&with_pointer = *(void **)&with_integer = symbol("MPI_Abort");
    if (world())
        with_pointer(world(), code);
    else
        with_integer(MPICH_COMM_WORLD, code);
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
