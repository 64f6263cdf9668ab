/* SPDX-License-Identifier: Apache-2.0 */
/* A host in C alone for `make gpu-check`: it couples to the emulator of a coupling file, and prints what it got. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "coupler_plugin.h"

static int fail(int coupler)
{
    char message[4096];

    coupler_get_message(coupler, message, sizeof message);
    fprintf(stderr, "%s\n", message);
    return 1;
}

static coupler_array vector(void *data, int type, int64_t size)
{
    return (coupler_array){.data = data, .type = type, .rank = 1, .extent = {size}, .stride = {8}};
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"tas", "hurs", "sfcWind", "lai"};
    int n = argc > 2 ? atoi(argv[2]) : 0, coupler;
    int64_t *id = malloc((size_t)n * sizeof *id);
    double *lon = malloc((size_t)n * sizeof *lon), *lat = malloc((size_t)n * sizeof *lat), *fields[4];
    coupler_array ids = vector(id, COUPLER_INT64, n), longitudes = vector(lon, COUPLER_REAL64, n),
                  latitudes = vector(lat, COUPLER_REAL64, n);

    if (n < 2) return 2;
    for (int f = 0; f < 4; f++) fields[f] = malloc((size_t)n * sizeof **fields);
    for (int i = 0; i < n; i++) {
        id[i] = i + 1;
        lon[i] = 360.0 * i / n;
        lat[i] = 180.0 * i / (n - 1) - 90.0;
        fields[0][i] = 285.0 + 20.0 * sin(0.1 * i);
        fields[1][i] = 60.0 + 30.0 * sin(0.2 * i);
        fields[2][i] = 5.0 + 4.0 * sin(0.3 * i);
        fields[3][i] = -9.0;
    }
    if (coupler_init(argv[1], NULL, "2001-01-01", 3600.0, &coupler)) return fail(0);
    if (coupler_set_cells(coupler, &ids, &longitudes, &latitudes, NULL)) return fail(coupler);
    for (int f = 0; f < 4; f++) {
        coupler_array field = vector(fields[f], COUPLER_REAL64, n);

        if (coupler_bind(coupler, names[f], &field, NULL)) return fail(coupler);
    }
    for (int step = 0; step < 3; step++)
        if (coupler_step(coupler)) return fail(coupler);
    if (coupler_finalize(coupler)) return fail(coupler);
    for (int i = 0; i < n; i++) printf("%.9g\n", fields[3][i]);
    return 0;
}
