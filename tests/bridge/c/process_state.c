/* SPDX-License-Identifier: Apache-2.0 */
/* What of a process belongs to the host: signal handlers, locale, subnormal numbers. Nothing of it changes. */
#define _POSIX_C_SOURCE 200809L
#include <float.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include "coupler_plugin.h"

static void handler(int number)
{
    (void)number;
}

static int signals_kept(void)
{
    struct sigaction interrupt, pipe;

    sigaction(SIGINT, NULL, &interrupt);
    sigaction(SIGPIPE, NULL, &pipe);
    return interrupt.sa_handler == handler && pipe.sa_handler == SIG_DFL;
}

/* Flushing subnormals to zero is a mode of x86; elsewhere there is nothing to lose. */
static int flushes_to_zero(void)
{
    volatile double tiny = DBL_MIN, half = 0.5;
#ifdef __SSE2__
    return tiny * half == 0.0;
#else
    return tiny * half != 0.0;
#endif
}

static void state(const char *when)
{
    printf("signals_%s=%d\nlocale_%s=%d\nsubnormals_%s=%d\n", when, signals_kept(), when,
           strcmp(setlocale(LC_ALL, NULL), "C") == 0, when, flushes_to_zero());
}

int main(int argc, char **argv)
{
    int32_t id = 1;
    double tas = 1.0, lai = -9.0;
    coupler_array number = {.data = &id, .type = COUPLER_INT32}, temperature = {.data = &tas, .type = COUPLER_REAL64},
                  leaf = {.data = &lai, .type = COUPLER_REAL64};
    int coupler = 0, rc;

    if (argc < 2) return 2;
    signal(SIGINT, handler);
#ifdef __SSE2__
    _mm_setcsr(_mm_getcsr() | 0x8040); /* flush to zero, denormals are zero */
#endif
    state("before");
    rc = coupler_init(argv[1], NULL, "2001-01-01", 3600.0, &coupler);
    state("after_init");
    if (!rc) rc = coupler_set_cells(coupler, &number, &temperature, &temperature, NULL);
    if (!rc) rc = coupler_bind(coupler, "tas", &temperature, NULL);
    if (!rc) rc = coupler_bind(coupler, "lai", &leaf, NULL);
    if (!rc) rc = coupler_step(coupler);
    state("after_step");
    printf("rc=%d\nanswer=%g\n", rc, lai);
    return coupler_finalize(coupler);
}
