/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file guard.c
 * The host's floating-point environment, OpenMP threads and locale, put aside during a call and given back after it.
 *
 * Hosts are run with traps (-ffpe-trap), with directed rounding or with subnormals flushed to zero; numpy and torch
 * divide by zero on purpose and must answer alike in every host. Both set the number of OpenMP threads of the calling
 * thread, which is the host's own setting too wherever the two share one OpenMP library. There torch works with the
 * host's own threads: each of them has a floating-point environment, which it inherited from the one that called for
 * it first. Where the host's locale writes 1,5, UDUNITS would read the units '1.5 K' as '1 K'.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>

#include "internal.h"

static int (*get_max_threads)(void);
static void (*set_num_threads)(int);
static void (*run_parallel)(void (*)(void *), void *, unsigned, unsigned);
static locale_t plain_locale;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Before Python starts: what is found now is the host's own OpenMP, not a copy that torch brings along. */
static void prepare(void)
{
    plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    *(void **)&get_max_threads = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
    *(void **)&set_num_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    *(void **)&run_parallel = dlsym(RTLD_DEFAULT, "GOMP_parallel"); /* by which torch's parallel regions begin */
}

static void set_floating_point(void *environment)
{
    fesetenv(environment);
}

/* Set the floating-point environment of this thread, and of those of the host that work with it. */
static void set_floating_point_of_team(const fenv_t *environment, int threads)
{
    if (threads > 1 && run_parallel)
        run_parallel(set_floating_point, (void *)environment, (unsigned)threads, 0);
    else
        fesetenv(environment);
}

void coupler_guard_enter(coupler_guard *guard, int threads)
{
    fegetenv(&guard->floating_point);
    pthread_once(&once, prepare);
    guard->locale = uselocale(plain_locale);
    set_floating_point_of_team(FE_DFL_ENV, threads);
    guard->threads = 0;
    if (get_max_threads && set_num_threads) {
        guard->threads = get_max_threads();
        if (threads > 0 && threads != guard->threads) set_num_threads(threads);
    }
}

int coupler_guard_leave(const coupler_guard *guard)
{
    int threads = 0;

    if (guard->threads > 0) {
        threads = get_max_threads();
        if (threads != guard->threads) set_num_threads(guard->threads);
    }
    set_floating_point_of_team(&guard->floating_point, threads);
    uselocale(guard->locale);
    return threads;
}
