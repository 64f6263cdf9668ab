/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file coupler_plugin.c
 * The public functions: one record for each handle, its last message, and what happens after an error.
 *
 * Each function does the same four things: find the record, put the host's settings aside, let Python do the work, and
 * conclude, which gives the settings back and turns Python's answer into a status.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build_config.h"
#include "internal.h"

/** One coupler; kept after finalize, so that its last message and its policy can still be asked for. */
typedef struct coupler {
    int handle;
    int open;           /**< between init and finalize */
    int abort_on_error; /**< policy `on_error` of the YAML file; 0 until that is read */
    int threads;        /**< OpenMP threads that the plugin works with */
    int status;         /**< status of the last error */
    char *message;
} coupler;

static coupler **couplers; /* coupler number `handle` stands at handle - 1 */
static int coupler_count;
static coupler process;    /* handle 0: what happens outside any coupler; its message is the last of all */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int stopping;

/* ------------------------------------------------------------------------------------------------------- records */

static coupler *find(int handle)
{
    coupler *found = &process;

    pthread_mutex_lock(&mutex);
    if (handle > 0 && handle <= coupler_count) found = couplers[handle - 1];
    pthread_mutex_unlock(&mutex);
    return found;
}

static coupler *create(void)
{
    coupler **grown, *made = calloc(1, sizeof *made);

    if (!made) return NULL;
    pthread_mutex_lock(&mutex);
    grown = realloc(couplers, (size_t)(coupler_count + 1) * sizeof *grown);
    if (grown) {
        couplers = grown;
        couplers[coupler_count++] = made;
        made->handle = coupler_count;
    }
    pthread_mutex_unlock(&mutex);
    if (grown) return made;
    free(made);
    return NULL;
}

/* Keep a sentence as the last message of a coupler and of the process, with the rank in front of it. */
static void remember(coupler *self, const char *sentence)
{
    int rank = coupler_host_mpi_rank();
    size_t room = strlen(sentence) + sizeof "rank -2147483648: ";
    char *own = malloc(room), *last = NULL;

    if (own) {
        if (rank >= 0)
            snprintf(own, room, "rank %d: %s", rank, sentence);
        else
            snprintf(own, room, "%s", sentence);
        last = strdup(own);
    }
    pthread_mutex_lock(&mutex);
    if (self != &process) {
        free(self->message);
        self->message = own;
    } else {
        free(own);
    }
    free(process.message);
    process.message = last;
    pthread_mutex_unlock(&mutex);
}

/* ---------------------------------------------------------------------------------------------- after an error */

/* Stop the job with the last message of a coupler. Ranks above 0 speak half a second later: where all ranks fail alike,
 * rank 0 has stopped the job by then, and the message stands there once. */
static _Noreturn void stop(const coupler *self, int status)
{
    void (*flush_fortran_units)(const int *);

    stopping = 1;
    if (coupler_host_mpi_rank() > 0) usleep(500000);
    fflush(NULL);
    *(void **)&flush_fortran_units = dlsym(RTLD_DEFAULT, "_gfortran_flush_i4");
    if (flush_fortran_units) flush_fortran_units(NULL); /* NULL: all units, so that the host's own log is whole */
    fprintf(stderr, "coupler_plugin: %s\n", self->message ? self->message : "stopped by the host, without an error.");
    fflush(stderr);
    coupler_host_mpi_abort(status);
    signal(SIGABRT, SIG_DFL); /* a Fortran runtime would print a backtrace of its own */
    abort();
}

/* Turn a failure into a status, or into the end of the job. */
static int fail(coupler *self, int status, const char *sentence)
{
    remember(self, sentence);
    self->status = process.status = status;
    if (self->abort_on_error) stop(self, status);
    return status;
}

/* End a call: turn Python's answer into a status, with its sentence, and give the host its settings back. */
static int conclude(coupler *self, const coupler_guard *guard, int answer)
{
    const char *sentence = "Python gave no answer to this call; the reason stands on standard error.";
    char *fetched = NULL;
    int length;

    if (answer == COUPLER_PYTHON_OK) {
        self->threads = coupler_guard_leave(guard);
        return COUPLER_OK;
    }
    if (answer >= COUPLER_ERROR_STARTUP && answer <= COUPLER_ERROR_INTERNAL) {
        length = coupler_python_message(self->handle, NULL, 0);
        fetched = calloc(1, (size_t)length + 1);
        if (fetched) coupler_python_message(self->handle, fetched, length + 1);
        sentence = fetched ? fetched : "an error, and no memory for its message.";
    } else {
        answer = COUPLER_ERROR_INTERNAL;
    }
    self->threads = coupler_guard_leave(guard);
    answer = fail(self, answer, sentence);
    free(fetched);
    return answer;
}

/* A call that cannot be: to a coupler that was never made, or is finalized. */
static int out_of_order(coupler *self, const char *call, int handle)
{
    char sentence[160];

    if (self->handle)
        snprintf(sentence, sizeof sentence, "%s was called for coupler %d after it was finalized.", call, handle);
    else
        snprintf(sentence, sizeof sentence, "%s was called for coupler %d, which does not exist: call init first.",
                 call, handle);
    return fail(self, COUPLER_ERROR_ORDER, sentence);
}

/* At the end of a process whose host forgot something. Nothing is closed here: MPI may be gone, other ranks too. */
static void warn_at_exit(void)
{
    for (int i = 0; i < coupler_count && !stopping; i++)
        if (couplers[i]->open)
            fprintf(stderr,
                    "coupler_plugin: coupler %d was not finalized before the program ended: its history and its report "
                    "may be incomplete.\n",
                    couplers[i]->handle);
}

static void register_exit(void)
{
    atexit(warn_at_exit);
}

/* ------------------------------------------------------------------------------------------- the public functions */

int coupler_init(const char *config, const int *comm, const char *start, double dt, int *handle)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char message[COUPLER_MESSAGE_LENGTH] = "";
    coupler *self;
    coupler_guard guard;
    int status;

    if (!handle) return fail(&process, COUPLER_ERROR_ORDER, "init was called without a place for the handle.");
    *handle = 0;
    if (!config || !start)
        return fail(&process, COUPLER_ERROR_CONFIG, "init was called without the YAML file or without the start date.");
    self = create();
    if (!self) return fail(&process, COUPLER_ERROR_INTERNAL, "init found no memory for a coupler.");

    if (!comm && coupler_host_mpi_size() > 1)
        return fail(self, COUPLER_ERROR_MPI,
                    "init was called without a communicator in a job of several ranks, which would write the same files. "
                    "Give MPI_COMM_WORLD, or MPI_COMM_SELF where each rank couples by itself.");

    coupler_guard_enter(&guard, 0);
    if (comm) coupler_host_mpi_publish();
    status = coupler_start(message, sizeof message);
    if (status != COUPLER_OK) {
        coupler_guard_leave(&guard);
        return fail(self, status, message);
    }
    pthread_once(&once, register_exit); /* after Python's libraries registered theirs, so that it runs before them */
    status = conclude(self, &guard,
                      coupler_python_init(self->handle, config, comm, start, dt, &self->abort_on_error));
    if (status == COUPLER_OK) {
        self->open = 1;
        *handle = self->handle;
    }
    return status;
}

int coupler_set_cells(int handle, const coupler_array *id, const coupler_array *lon, const coupler_array *lat,
                      const coupler_array *area)
{
    return coupler_set_cells_with_corners(handle, id, lon, lat, area, NULL, NULL);
}

int coupler_set_cells_with_corners(int handle, const coupler_array *id, const coupler_array *lon,
                                   const coupler_array *lat, const coupler_array *area,
                                   const coupler_array *corner_lon, const coupler_array *corner_lat)
{
    coupler *self = find(handle);
    coupler_guard guard;

    if (!self->open) return out_of_order(self, "set_cells", handle);
    if (!id || !lon || !lat)
        return fail(self, COUPLER_ERROR_CELLS, "set_cells was called without ids, longitudes or latitudes.");
    coupler_guard_enter(&guard, self->threads);
    return conclude(self, &guard, coupler_python_set_cells(handle, id, lon, lat, area, corner_lon, corner_lat));
}

static int bind(int handle, const char *name, const coupler_array *field, const char *units, int device)
{
    coupler *self = find(handle);
    coupler_guard guard;

    if (!self->open) return out_of_order(self, "bind", handle);
    if (!name || !field) return fail(self, COUPLER_ERROR_FIELD, "bind was called without a name or without an array.");
    coupler_guard_enter(&guard, self->threads);
    return conclude(self, &guard, coupler_python_bind(handle, name, field, units, device));
}

int coupler_bind(int handle, const char *name, const coupler_array *field, const char *units)
{
    return bind(handle, name, field, units, 0);
}

int coupler_bind_device(int handle, const char *name, const coupler_array *field, const char *units)
{
    return bind(handle, name, field, units, 1);
}

int coupler_step(int handle)
{
    coupler *self = find(handle);
    coupler_guard guard;

    if (!self->open) return out_of_order(self, "step", handle);
    coupler_guard_enter(&guard, self->threads);
    return conclude(self, &guard, coupler_python_step(handle));
}

int coupler_step_begin(int handle)
{
    coupler *self = find(handle);
    coupler_guard guard;

    if (!self->open) return out_of_order(self, "step_begin", handle);
    coupler_guard_enter(&guard, self->threads);
    return conclude(self, &guard, coupler_python_step_begin(handle));
}

int coupler_step_end(int handle)
{
    coupler *self = find(handle);
    coupler_guard guard;

    if (!self->open) return out_of_order(self, "step_end", handle);
    coupler_guard_enter(&guard, self->threads);
    return conclude(self, &guard, coupler_python_step_end(handle));
}

int coupler_write_restart(int handle)
{
    coupler *self = find(handle);
    coupler_guard guard;

    if (!self->open) return out_of_order(self, "write_restart", handle);
    coupler_guard_enter(&guard, self->threads);
    return conclude(self, &guard, coupler_python_write_restart(handle));
}

int coupler_finalize(int handle)
{
    coupler *self = find(handle);
    coupler_guard guard;

    if (!self->open) return out_of_order(self, "finalize", handle);
    self->open = 0; /* whatever happens: a coupler that could not be closed cannot be used either */
    coupler_guard_enter(&guard, self->threads);
    return conclude(self, &guard, coupler_python_finalize(handle));
}

int coupler_get_message(int handle, char *buffer, int length)
{
    coupler *self = find(handle);
    int whole = 0;

    pthread_mutex_lock(&mutex);
    if (self->message) whole = (int)strlen(self->message);
    if (buffer && length > 0) snprintf(buffer, (size_t)length, "%s", self->message ? self->message : "");
    pthread_mutex_unlock(&mutex);
    return whole;
}

void coupler_abort(int handle)
{
    coupler *self = find(handle);

    stop(self, self->status ? self->status : COUPLER_ERROR_INTERNAL);
}

const char *coupler_version(void)
{
    return COUPLER_VERSION;
}
