/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file descriptor.c
 * Reads the C descriptors of Fortran arrays (ISO_Fortran_binding.h): type, rank, extents and strides, never the data.
 *
 * It belongs to the Fortran module and must be compiled with the C compiler that goes with the Fortran compiler of the
 * host, because each compiler has descriptors of its own.
 */
#include <ISO_Fortran_binding.h>

#include "coupler_plugin.h"

/* Called by the host itself, the others by the module alone. */
coupler_array coupler_array_of_descriptor(const CFI_cdesc_t *descriptor);

#ifdef __GNUC__
#pragma GCC visibility push(hidden)
#endif

int coupler_set_cells_descriptor(int handle, const CFI_cdesc_t *id, const CFI_cdesc_t *lon, const CFI_cdesc_t *lat,
                                 const CFI_cdesc_t *area, const CFI_cdesc_t *corner_lon,
                                 const CFI_cdesc_t *corner_lat);
int coupler_bind_descriptor(int handle, const char *name, const CFI_cdesc_t *field, const char *units, int device);
int coupler_bind_described(int handle, const char *name, const coupler_array *array, const char *units, int device);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

/* 0 for a kind that no field can have; the plugin then says so. */
static int type_of(CFI_type_t type)
{
    if (type == CFI_type_float) return COUPLER_REAL32;
    if (type == CFI_type_double) return COUPLER_REAL64;
    if (type == CFI_type_int32_t) return COUPLER_INT32;
    if (type == CFI_type_int64_t) return COUPLER_INT64;
    return 0;
}

/* Elements in a dimension. gfortran says -4 of x(5:0), which has none. It says -1 both of x(5:3) and of the last dimension
 * of an assumed-size array, whose end nobody knows; the plugin refuses that. */
static int64_t extent_of(const CFI_cdesc_t *descriptor, int dimension)
{
    CFI_index_t extent = descriptor->dim[dimension].extent;
    int is_unknown = extent == -1 && dimension == descriptor->rank - 1;

    return extent < 0 && !is_unknown ? 0 : extent;
}

coupler_array coupler_array_of_descriptor(const CFI_cdesc_t *descriptor)
{
    coupler_array array = {.data = descriptor->base_addr, .type = type_of(descriptor->type), .rank = descriptor->rank};

    for (int i = 0; i < array.rank && i < 7; i++) {
        array.extent[i] = extent_of(descriptor, i);
        array.stride[i] = descriptor->dim[i].sm;
    }
    return array;
}

int coupler_set_cells_descriptor(int handle, const CFI_cdesc_t *id, const CFI_cdesc_t *lon, const CFI_cdesc_t *lat,
                                 const CFI_cdesc_t *area, const CFI_cdesc_t *corner_lon,
                                 const CFI_cdesc_t *corner_lat)
{
    const CFI_cdesc_t *given[] = {id, lon, lat, area, corner_lon, corner_lat};
    coupler_array arrays[6], *present[6] = {0};

    for (int i = 0; i < 6; i++) {
        if (!given[i]) continue;
        arrays[i] = coupler_array_of_descriptor(given[i]);
        present[i] = &arrays[i];
    }
    return coupler_set_cells_with_corners(handle, present[0], present[1], present[2], present[3], present[4],
                                          present[5]);
}

int coupler_bind_descriptor(int handle, const char *name, const CFI_cdesc_t *field, const char *units, int device)
{
    coupler_array array = coupler_array_of_descriptor(field);

    return coupler_bind_described(handle, name, &array, units, device);
}

int coupler_bind_described(int handle, const char *name, const coupler_array *array, const char *units, int device)
{
    return device ? coupler_bind_device(handle, name, array, units) : coupler_bind(handle, name, array, units);
}
