/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file internal.h
 * What the C files of the library know of each other: none of it is seen outside.
 *
 * coupler_plugin.c  the public functions: handles, messages, the failure policy
 * startup.c         starts Python, once
 * guard.c           the host's floating-point environment, OpenMP threads and locale around a call
 * host_mpi.c        the MPI that the host runs, found without being linked
 * embedding.c       written by embedding.py: the way into Python
 */
#ifndef COUPLER_PLUGIN_INTERNAL_H
#define COUPLER_PLUGIN_INTERNAL_H

#include <fenv.h>
#include <locale.h>
#include <stddef.h>

#include "coupler_plugin.h"

/**
 * What Python answers when all went well. Never 0: cffi fills the answer with zeros where Python could not be called at
 * all, and that must not look like success. `coupler_plugin/bridge/entry.py` has the same number.
 */
#define COUPLER_PYTHON_OK 0x600d

/** Room for one message of the C side; messages of Python may be of any length. */
#define COUPLER_MESSAGE_LENGTH 4096

/** What the host had set when it called, and gets back when the call returns. */
typedef struct coupler_guard {
    fenv_t floating_point;
    locale_t locale;
    int threads;
} coupler_guard;

/**
 * Begin a call: plain floating-point environment, numbers with a point, and the plugin's own number of OpenMP threads.
 * @param[in] threads  what the last @ref coupler_guard_leave of this coupler returned; 0: none yet
 */
void coupler_guard_enter(coupler_guard *guard, int threads);

/** End a call: give the host back what it had. Returns the number of OpenMP threads that the plugin leaves behind. */
int coupler_guard_leave(const coupler_guard *guard);

/** Start Python and import the plugin, unless that was done. Returns a status, and its sentence in the message. */
int coupler_start(char *message, size_t length);

/** Connect the functions below with `entry.py` (embedding.c); Python runs and its lock is free. Returns 0, or -1. */
int coupler_start_embedding(void);

/** Make the symbols of the host's MPI visible to mpi4py where the host was loaded with `RTLD_LOCAL`. */
void coupler_host_mpi_publish(void);

/** Number of ranks in the host's MPI_COMM_WORLD, or -1 where MPI is not running. */
int coupler_host_mpi_size(void);

/** Rank in MPI_COMM_WORLD, -1 where MPI is not running. */
int coupler_host_mpi_rank(void);

/** Stop all ranks of the job; returns only where MPI is not running. */
void coupler_host_mpi_abort(int code);

/* Python's side of each call (embedding.c, entry.py). */
int coupler_python_init(int handle, const char *config, const int *comm, const char *start, double dt,
                        int *abort_on_error);
int coupler_python_set_cells(int handle, const coupler_array *id, const coupler_array *lon, const coupler_array *lat,
                             const coupler_array *area, const coupler_array *corner_lon,
                             const coupler_array *corner_lat);
int coupler_python_bind(int handle, const char *name, const coupler_array *field, const char *units, int device);
int coupler_python_step(int handle);
int coupler_python_step_begin(int handle);
int coupler_python_step_end(int handle);
int coupler_python_write_restart(int handle);
int coupler_python_finalize(int handle);
int coupler_python_message(int handle, char *buffer, int length);

#endif
