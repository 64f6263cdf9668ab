/* SPDX-License-Identifier: Apache-2.0 */
/* The host of corners.f90 in C: its corners carry fluxes conservatively to an emulator's own grid and back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "coupler_plugin.h"

enum { N = 18, CORNERS = 4 };

static coupler_array vector(void *data, int type)
{
    return (coupler_array){.data = data, .type = type, .rank = 1, .extent = {N}, .stride = {8}};
}

static coupler_array around(double *corners)
{
    return (coupler_array){
        .data = corners, .type = COUPLER_REAL64, .rank = 2, .extent = {CORNERS, N}, .stride = {8, 8 * CORNERS}};
}

int main(int argc, char **argv)
{
    static const double to_east[CORNERS] = {-15.0, 15.0, 15.0, -15.0}, to_north[CORNERS] = {-10.0, -10.0, 10.0, 10.0};
    int64_t id[N];
    double lon[N], lat[N], corner_lon[N][CORNERS], corner_lat[N][CORNERS], pr[N], evspsbl[N];
    coupler_array ids = vector(id, COUPLER_INT64), longitudes = vector(lon, COUPLER_REAL64),
                  latitudes = vector(lat, COUPLER_REAL64), rain = vector(pr, COUPLER_REAL64),
                  evaporation = vector(evspsbl, COUPLER_REAL64), corners_east = around(corner_lon[0]),
                  corners_north = around(corner_lat[0]);
    int coupler, rc;
    char message[4096];

    if (argc < 2) return 2;
    for (int i = 0; i < N; i++) {
        id[i] = i + 1;
        lon[i] = 30.0 * (i % 6) + 15.0;
        lat[i] = 20.0 * (i / 6) - 20.0;
        for (int corner = 0; corner < CORNERS; corner++) {
            corner_lon[i][corner] = lon[i] + to_east[corner];
            corner_lat[i][corner] = lat[i] + to_north[corner];
        }
        pr[i] = i + 1.0;
        evspsbl[i] = -1.0;
    }
    rc = coupler_init(argv[1], NULL, "2001-01-01", 3600.0, &coupler);
    if (!rc)
        printf("one_of_both=%d\n", coupler_set_cells_with_corners(coupler, &ids, &longitudes, &latitudes, NULL,
                                                                  &corners_east, NULL));
    if (!rc)
        rc = coupler_set_cells_with_corners(coupler, &ids, &longitudes, &latitudes, NULL, &corners_east, &corners_north);
    if (!rc) rc = coupler_bind(coupler, "pr", &rain, NULL);
    if (!rc) rc = coupler_bind(coupler, "evspsbl", &evaporation, NULL);
    if (!rc) rc = coupler_step(coupler);
    coupler_get_message(coupler, message, sizeof message);
    printf("rc=%d\nmessage=%s\nanswer=", rc, message);
    for (int i = 0; i < N; i++) {
        uint64_t bits;

        memcpy(&bits, &evspsbl[i], sizeof bits);
        printf("%s%016" PRIX64, i ? " " : "", bits);
    }
    printf("\n");
    return coupler_finalize(coupler);
}
