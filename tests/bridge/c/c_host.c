/* SPDX-License-Identifier: Apache-2.0 */
/* A host in C alone: no Fortran, only coupler_plugin.h. The emulator gives 2 tas + 1. */
#include <stdio.h>

#include "coupler_plugin.h"

static coupler_array vector(void *data, int type, int64_t size)
{
    coupler_array array = {.data = data, .type = type, .rank = 1, .extent = {size}};

    array.stride[0] = type == COUPLER_REAL32 || type == COUPLER_INT32 ? 4 : 8;
    return array;
}

int main(int argc, char **argv)
{
    int64_t id[3] = {1, 2, 3};
    double lon[3] = {0.0, 10.0, 20.0}, lat[3] = {50.0, 51.0, 52.0}, tas[3] = {1.0, 2.0, 3.0};
    float lai[3] = {-9.0f, -9.0f, -9.0f};
    coupler_array ids = vector(id, COUPLER_INT64, 3), longitudes = vector(lon, COUPLER_REAL64, 3),
                  latitudes = vector(lat, COUPLER_REAL64, 3), field_tas = vector(tas, COUPLER_REAL64, 3),
                  field_lai = vector(lai, COUPLER_REAL32, 3);
    int coupler, rc, length;
    char message[200], cut[8];

    if (argc < 2) return 2;
    rc = coupler_init(argv[1], NULL, "2001-01-01", 3600.0, &coupler);
    if (!rc) rc = coupler_set_cells(coupler, &ids, &longitudes, &latitudes, NULL);
    if (!rc) rc = coupler_bind(coupler, "tas", &field_tas, "K");
    if (!rc) rc = coupler_bind(coupler, "lai", &field_lai, NULL);
    if (!rc) rc = coupler_step_begin(coupler);
    if (!rc) rc = coupler_step_end(coupler);
    if (!rc) rc = coupler_step(coupler);
    printf("rc=%d\nanswer=%g %g %g\n", rc, (double)lai[0], (double)lai[1], (double)lai[2]);

    printf("no_name=%d\n", coupler_bind(coupler, NULL, &field_tas, NULL));
    printf("no_cells=%d\n", coupler_set_cells(coupler, NULL, NULL, NULL, NULL));
    printf("no_file=%d\n", coupler_init(NULL, NULL, NULL, 1.0, &rc));
    printf("no_handle=%d\n", coupler_init(argv[1], NULL, "2001-01-01", 3600.0, NULL));
    field_tas.rank = 9;
    printf("rank_9=%d\n", coupler_bind(coupler, "tas", &field_tas, NULL));
    length = coupler_get_message(coupler, message, sizeof message);
    printf("message=%s\nlength=%d\n", message, length);
    printf("length_alone=%d\n", coupler_get_message(coupler, NULL, 0));
    coupler_get_message(coupler, cut, sizeof cut);
    printf("cut=%s\n", cut);
    field_tas.rank = 1;
    printf("moved=%d\n", coupler_bind_device(coupler, "tas", &field_tas, "K"));
    printf("no_device_name=%d\n", coupler_bind_device(coupler, NULL, &field_tas, "K"));
    printf("finalize=%d\n", coupler_finalize(coupler));
    printf("after=%d\n", coupler_step(coupler));
    printf("after_begin=%d\n", coupler_step_begin(coupler));
    printf("after_end=%d\n", coupler_step_end(coupler));
    printf("after_bind=%d\n", coupler_bind_device(coupler, "tas", &field_tas, "K"));
    printf("version=%s\n", coupler_version());

    lai[0] = lai[1] = lai[2] = -9.0f;
    rc = coupler_init(argv[1], NULL, "2001-01-01", 3600.0, &coupler);
    if (!rc) rc = coupler_set_cells(coupler, &ids, &longitudes, &latitudes, NULL);
    if (!rc) rc = coupler_bind_device(coupler, "tas", &field_tas, "K");
    if (!rc) rc = coupler_bind_device(coupler, "lai", &field_lai, NULL);
    if (!rc) rc = coupler_step(coupler);
    if (!rc) rc = coupler_finalize(coupler);
    printf("device_rc=%d\ndevice_answer=%g %g %g\n", rc, (double)lai[0], (double)lai[1], (double)lai[2]);
    return 0;
}
