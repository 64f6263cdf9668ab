/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file coupler_plugin.h
 * The C interface of coupler_plugin: the whole plugin for a C host, and what the Fortran module rests on.
 *
 * A host makes a coupler, tells it which cells it owns, binds its fields once, and steps it:
 * @code{.c}
 * int coupler;
 * double tas[2] = {280.0, 281.0}, lai[2];
 * int64_t id[2] = {1, 2};
 * double lon[2] = {10.0, 12.5}, lat[2] = {50.0, 50.0};
 * coupler_array cell = {.type = COUPLER_INT64, .rank = 1, .extent = {2}, .stride = {8}};
 * coupler_array cells_id = cell, real = cell;
 * real.type = COUPLER_REAL64;
 * coupler_array cells_lon = real, cells_lat = real, field_tas = real, field_lai = real;
 * cells_id.data = id; cells_lon.data = lon; cells_lat.data = lat; field_tas.data = tas; field_lai.data = lai;
 *
 * coupler_init("coupling.yml", NULL, "2001-01-01", 3600.0, &coupler);
 * coupler_set_cells(coupler, &cells_id, &cells_lon, &cells_lat, NULL);
 * coupler_bind(coupler, "tas", &field_tas, "K");
 * coupler_bind(coupler, "lai", &field_lai, NULL);
 * for (int i = 0; i < 8760; i++) coupler_step(coupler);
 * coupler_finalize(coupler);
 * @endcode
 *
 * Every function that returns a status returns 0 (@ref COUPLER_OK) or one of @ref coupler_status. Where
 * `on_error: abort` stands in the YAML file (the default), an error does not return: the message goes to standard error
 * and the whole MPI job is stopped. The functions may be called from one thread at a time for each handle.
 */
#ifndef COUPLER_PLUGIN_H
#define COUPLER_PLUGIN_H

#include <stdint.h>

/** Counts the changes of this interface that old binaries cannot live with. */
#define COUPLER_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

/** What a call answers; the Fortran module and Python's `coupler_plugin.Status` carry the same names and numbers. */
typedef enum coupler_status {
    COUPLER_OK = 0,
    COUPLER_ERROR_STARTUP = 1,  /**< Python or the library did not start */
    COUPLER_ERROR_CONFIG = 2,   /**< the YAML file is missing, unreadable or wrong */
    COUPLER_ERROR_ORDER = 3,    /**< a call out of order: step before bind, use after finalize, unknown handle */
    COUPLER_ERROR_FIELD = 4,    /**< an unknown field, or a field that was never bound */
    COUPLER_ERROR_ARRAY = 5,    /**< an array of the wrong kind, rank or shape */
    COUPLER_ERROR_UNITS = 6,    /**< units that cannot be read or converted */
    COUPLER_ERROR_CELLS = 7,    /**< ids, coordinates or areas of the cells are wrong */
    COUPLER_ERROR_MODEL = 8,    /**< an emulator file or its manifest is wrong */
    COUPLER_ERROR_RUN = 9,      /**< an exception inside a step */
    COUPLER_ERROR_IO = 10,      /**< a file could not be written or read */
    COUPLER_ERROR_MPI = 11,     /**< MPI does not fit, or another rank failed */
    COUPLER_ERROR_INTERNAL = 12 /**< an error of the plugin itself */
} coupler_status;

/** The kinds of numbers that a field may have. */
typedef enum coupler_type {
    COUPLER_REAL32 = 1,
    COUPLER_REAL64 = 2,
    COUPLER_INT32 = 3,
    COUPLER_INT64 = 4
} coupler_type;

/** An array of the host, described and never copied; a scalar has rank 0. */
typedef struct coupler_array {
    void *data;        /**< the first element: element (1, 1, ...) of a Fortran array */
    int type;          /**< one of @ref coupler_type */
    int rank;          /**< 0 to 7 */
    int64_t extent[7]; /**< elements in each dimension, fastest first (the order of Fortran) */
    int64_t stride[7]; /**< bytes from one element to the next in each dimension; may be negative */
} coupler_array;

/**
 * Make a coupler from a YAML file; the first call of a process starts Python.
 * @param[in]  config  path of the YAML file
 * @param[in]  comm    Fortran handle of the communicator of the ranks that call (C: `MPI_Comm_c2f`); NULL: serial host
 * @param[in]  start   date at which the first step begins: "2001-01-01" or "2001-01-01T06:00:00"
 * @param[in]  dt      length of the host's step [s]
 * @param[out] handle  names this coupler in every other call; 0 after an error
 */
int coupler_init(const char *config, const int *comm, const char *start, double dt, int *handle);

/**
 * Say which cells this rank owns. All arrays have one shape (rank 0 to 4), and are copied.
 * @param[in] id    global number of each cell, from 1; 0 marks a cell that is not active
 * @param[in] lon   longitude [degrees east]
 * @param[in] lat   latitude [degrees north]
 * @param[in] area  area [m2], or NULL where it is not known
 */
int coupler_set_cells(int handle, const coupler_array *id, const coupler_array *lon, const coupler_array *lat,
                      const coupler_array *area);

/**
 * Say which cells this rank owns, and where their corners are: conservative regridding needs them where the YAML file
 * does not name the host's grid. Otherwise it does what @ref coupler_set_cells does.
 * @param[in] corner_lon  longitudes of the corners [degrees east], or NULL; one more dimension than the cells, the
 *                        fastest, with at least three corners in order around each cell; a cell with fewer than that
 *                        dimension has repeats its last one
 * @param[in] corner_lat  latitudes of the corners [degrees north], or NULL; both or none
 */
int coupler_set_cells_with_corners(int handle, const coupler_array *id, const coupler_array *lon,
                                   const coupler_array *lat, const coupler_array *area,
                                   const coupler_array *corner_lon, const coupler_array *corner_lat);

/**
 * Bind a field to the host's memory, which must stay where it is until it is bound again or the coupler is finalized.
 * @param[in] name   name or alias in the field dictionary, such as "tas"
 * @param[in] field  array of the shape of the cells, with one more dimension for fields that have levels
 * @param[in] units  units of the host's numbers in CF form, such as "degC"; NULL: the canonical units of the field
 */
int coupler_bind(int handle, const char *name, const coupler_array *field, const char *units);

/**
 * Bind a field to memory of a GPU, as @ref coupler_bind does to memory of the host: `field->data` is an address of the
 * device. The host's kernels on the array must be done before it calls a step, and when the step returns, the plugin's are.
 * The strides must be positive. Where torch sees no GPU, the address is taken to be one of the host.
 */
int coupler_bind_device(int handle, const char *name, const coupler_array *field, const char *units);

/** Advance by one step of the host: read the inputs, run what is due, write the outputs in place. */
int coupler_step(int handle);

/**
 * Do the first half of a step: read the inputs, and let the first emulator that is due run beside the host. Until
 * @ref coupler_step_end the host does what needs no output, and changes no array that is bound but the inputs of that
 * emulator.
 */
int coupler_step_begin(int handle);

/** Do the other half: wait for the emulator beside the host, run the rest that is due, write the outputs in place. */
int coupler_step_end(int handle);

/** Write a restart of the present time, whatever the alarm in the YAML file says; that file needs a section `restart`. */
int coupler_write_restart(int handle);

/** Close the history and the report, and forget the coupler. Call it before MPI_Finalize. */
int coupler_finalize(int handle);

/**
 * Copy the text of the last error.
 * @param[in]  handle  a coupler, finalized or not; 0: the last error of the process
 * @param[out] buffer  receives the text, cut to fit and ended by a null character; may be NULL where length is 0
 * @param[in]  length  size of the buffer in bytes
 * @return length of the whole text in bytes, without the null character; 0 where there was no error
 */
int coupler_get_message(int handle, char *buffer, int length);

/** Print the last error of a coupler to standard error, with the rank, and stop the whole MPI job. Does not return. */
void coupler_abort(int handle);

/** Version of the library, such as "0.1.0". */
const char *coupler_version(void);

#ifdef __cplusplus
}
#endif

#endif
