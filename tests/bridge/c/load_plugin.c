/* SPDX-License-Identifier: Apache-2.0 */
/* Loads the library of mpi_plugin.c with RTLD_LOCAL and runs it. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    int (*run_host)(const char *);
    void *library;

    if (argc < 3) return 2;
    library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        printf("error=%s\n", dlerror());
        return 1;
    }
    *(void **)&run_host = dlsym(library, "run_host");
    return run_host(argv[1]);
}
