/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file guarding.c
 * What guards compute in every call, cell by cell: budgets in float64, distances in float32.
 *
 * No operation mixes cells, so that a cell has the same bits wherever it lies in the arrays.
 */
#include "packing.h"
#include "wide.h"

#include <float.h>
#include <math.h>

enum { LANES = 16, GROUPS = 4, STRIP = LANES * GROUPS /* cells that are computed side by side */ };

/* ------------------------------------------------------------------------------------------------------- budgets */

/* As numpy's maximum(value, 0): what is no number stays. */
static double positive(double value)
{
    return !(value <= 0.0) ? value : 0.0;
}

/* Sum the terms of some cells, those below 0 left out, and find the lowest number of each cell. */
WIDE static void add(const packing_budget *budget, int64_t first, int64_t cells, double *restrict total,
                     double *restrict lowest)
{
    for (int64_t i = 0; i < cells; i++) {
        total[i] = 0.0;
        lowest[i] = INFINITY;
    }
    for (int64_t term = 0; term < budget->n_terms; term++) {
        const double *values = budget->values + first * budget->channels + budget->terms[term].channel;
        const double factor = budget->terms[term].factor;
        for (int64_t i = 0; i < cells; i++) {
            const double value = values[i * budget->channels];
            total[i] += factor * positive(value);
            lowest[i] = value < lowest[i] ? value : lowest[i];
        }
    }
}

/* Close a sum of terms in one cell, and return the outcome. */
static char close_sum(const packing_budget *budget, double *values, double total, double lowest)
{
    const double target = budget->target, missing = fabs(total - target);
    const double error = missing < -lowest ? -lowest : missing; /* no number, where a term is none */

    if (error <= budget->slack * target && lowest >= 0.0) return 0;
    /* Where there is nothing to scale, all terms have the same share. */
    const int is_empty = total <= 0.0;
    for (int64_t i = 0; is_empty && i < budget->n_terms; i++) total = (i ? total : 0.0) + budget->terms[i].factor;
    for (int64_t i = 0; i < budget->n_terms; i++) {
        double *value = values + budget->terms[i].channel;
        *value = (is_empty ? 1.0 : positive(*value)) * (target / total);
    }
    return error > budget->rounding * target ? 2 : 1;
}

/* Bring terms down to what is available in one cell, and return the outcome: 3 where nobody knows what there is. */
static char close_limit(const packing_budget *budget, double *values, double demand, double available)
{
    demand *= budget->seconds;
    if (isnan(available)) return demand > 0.0 ? 3 : 0;
    if (!(demand > available * (1.0 + budget->slack))) return 0;
    /* A share that is no normal number has too few digits to keep the sum below what is available. */
    const double share = available / demand < DBL_MIN ? 0.0 : available / demand;
    for (int64_t i = 0; i < budget->n_terms; i++) {
        double *value = values + budget->terms[i].channel;
        if (*value > 0.0) *value *= share;
    }
    return demand * (1.0 - budget->rounding) > available ? 2 : 1;
}

int64_t packing_close(const packing_budget *budget)
{
    double total[STRIP], lowest[STRIP];
    int64_t closed = 0;

    for (int64_t first = 0; first < budget->cells; first += STRIP) {
        const int64_t rest = budget->cells - first, cells = rest < STRIP ? rest : STRIP;
        add(budget, first, cells, total, lowest);
        for (int64_t i = 0; i < cells; i++) {
            const int64_t cell = first + i;
            double *values = budget->values + cell * budget->channels;
            char outcome = 0;
            if (!budget->kept[cell] && budget->is_sum)
                outcome = close_sum(budget, values, total[i], lowest[i]);
            else if (!budget->kept[cell])
                outcome = close_limit(
                    budget, values, total[i], budget->available ? budget->available[cell] : budget->target);
            budget->outcome[cell] = outcome;
            closed += outcome != 0;
        }
    }
    return closed;
}

/* ------------------------------------------------------------------------------------------------------ distances */

typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));

/* Standardise the channels of a strip of cells, each channel on its own. */
WIDE static void standardise(const packing_distance *distance, int64_t first, int64_t cells)
{
    for (int64_t channel = 0; channel < distance->channels; channel++) {
        const float mean = distance->mean[channel], inverse = distance->inverse[channel];
        const float *from = distance->block + first * distance->channels + channel;
        float *to = distance->strip + channel * STRIP;
        for (int64_t i = 0; i < cells; i++) to[i] = (from[i * distance->channels] - mean) * inverse;
    }
}

/* Sum the squares of the independent combinations of a standardised strip. */
WIDE static void measure(const packing_distance *distance, float *squares)
{
    const float *factor = distance->triangle;
    lanes sum[GROUPS] = {{0}};

    for (int64_t row = 0; row < distance->channels; row++) {
        lanes combined[GROUPS] = {{0}};
        for (int64_t channel = 0; channel <= row; channel++, factor++) {
            const lanes *strip = (const lanes *)(distance->strip + channel * STRIP);
            for (int group = 0; group < GROUPS; group++) combined[group] += *factor * strip[group];
        }
        for (int group = 0; group < GROUPS; group++) sum[group] += combined[group] * combined[group];
    }
    for (int group = 0; group < GROUPS; group++)
        for (int i = 0; i < LANES; i++) squares[group * LANES + i] = sum[group][i];
}

int64_t packing_distant(const packing_distance *distance)
{
    float squares[STRIP];
    int64_t distant = 0;

    for (int64_t first = 0; first < distance->cells; first += STRIP) {
        const int64_t rest = distance->cells - first, cells = rest < STRIP ? rest : STRIP;
        standardise(distance, first, cells);
        measure(distance, squares);
        for (int64_t i = 0; i < cells; i++) {
            distance->squares[first + i] = squares[i];
            distant += !(squares[i] <= distance->largest);
        }
    }
    return distant;
}
