/* SPDX-License-Identifier: Apache-2.0 */
/* A host in a locale that writes numbers with a comma: units are read as they are written. */
#include <locale.h>
#include <stdio.h>

#include "coupler_plugin.h"

int main(int argc, char **argv)
{
    int32_t id = 1;
    double tas = 1.0, lai = -9.0;
    coupler_array number = {.data = &id, .type = COUPLER_INT32}, temperature = {.data = &tas, .type = COUPLER_REAL64},
                  leaf = {.data = &lai, .type = COUPLER_REAL64};
    int coupler = 0, rc;

    if (argc < 3 || !setlocale(LC_ALL, argv[2])) return 2;
    rc = coupler_init(argv[1], NULL, "2001-01-01", 3600.0, &coupler);
    if (!rc) rc = coupler_set_cells(coupler, &number, &temperature, &temperature, NULL);
    if (!rc) rc = coupler_bind(coupler, "tas", &temperature, "1.5 K");
    if (!rc) rc = coupler_bind(coupler, "lai", &leaf, NULL);
    if (!rc) rc = coupler_step(coupler);
    if (!rc) rc = coupler_finalize(coupler);
    printf("rc=%d\nhalf=%g\nanswer=%.0f\n", rc, 0.5, lai);
    return 0;
}
