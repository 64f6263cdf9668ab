/* SPDX-License-Identifier: Apache-2.0 */
/* A host that loads the library while it runs, with RTLD_LOCAL: extension modules must find Python's symbols even so. */
#include <dlfcn.h>
#include <stdio.h>

#include "coupler_plugin.h"

int main(int argc, char **argv)
{
    int (*init)(const char *, const int *, const char *, double, int *);
    int (*set_cells)(int, const coupler_array *, const coupler_array *, const coupler_array *, const coupler_array *);
    int (*bind)(int, const char *, const coupler_array *, const char *);
    int (*step)(int), (*finalize)(int), (*get_message)(int, char *, int);
    int32_t id = 1;
    double tas = 1.0, lai = -9.0;
    coupler_array number = {.data = &id, .type = COUPLER_INT32}, temperature = {.data = &tas, .type = COUPLER_REAL64},
                  leaf = {.data = &lai, .type = COUPLER_REAL64};
    char message[4096] = "";
    int coupler = 0, rc;
    void *library;

    if (argc < 3) return 2;
    library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        printf("error=%s\n", dlerror());
        return 1;
    }
    *(void **)&init = dlsym(library, "coupler_init");
    *(void **)&set_cells = dlsym(library, "coupler_set_cells");
    *(void **)&bind = dlsym(library, "coupler_bind");
    *(void **)&step = dlsym(library, "coupler_step");
    *(void **)&finalize = dlsym(library, "coupler_finalize");
    *(void **)&get_message = dlsym(library, "coupler_get_message");

    rc = init(argv[1], NULL, "2001-01-01", 3600.0, &coupler);
    if (!rc) rc = set_cells(coupler, &number, &temperature, &temperature, NULL);
    if (!rc) rc = bind(coupler, "tas", &temperature, NULL);
    if (!rc) rc = bind(coupler, "lai", &leaf, NULL);
    if (!rc) rc = step(coupler);
    if (!rc) rc = finalize(coupler);
    get_message(0, message, sizeof message);
    printf("rc=%d\nanswer=%g\nmessage=%s\n", rc, lai, message);
    dlclose(library); /* Python stays: the library must survive this */
    return 0;
}
