/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dense.c
 * The layers of dense.h.
 */
#include "dense.h"
#include "product.h"
#include "wide.h"

/* Fortran's: all by reference, and matrices column by column. Libraries differ in the size of their integers; on a
 * machine that keeps the low bytes first, the address of a small number serves both sizes. */
typedef void sgemm(const char *transposed_a, const char *transposed_b, const int64_t *m, const int64_t *n,
                   const int64_t *k, const float *alpha, const float *a, const int64_t *lda, const float *b,
                   const int64_t *ldb, const float *beta, float *c, const int64_t *ldc);

WIDE static void add(float *restrict result, const float *restrict bias, int64_t rows, int64_t width)
{
    for (int64_t row = 0; row < rows; row++, result += width)
        for (int64_t i = 0; i < width; i++) result[i] += bias[i];
}

WIDE static void add_and_cut(float *restrict result, const float *restrict bias, int64_t rows, int64_t width)
{
    for (int64_t row = 0; row < rows; row++, result += width)
        for (int64_t i = 0; i < width; i++) {
            const float sum = result[i] + bias[i];
            result[i] = sum < 0.0f ? 0.0f : sum;
        }
}

WIDE static void cut(float *result, int64_t n)
{
    for (int64_t i = 0; i < n; i++) result[i] = result[i] < 0.0f ? 0.0f : result[i];
}

static void finish(const dense_layer *layer, int64_t rows, float *result)
{
    if (layer->bias && layer->is_cut)
        add_and_cut(result, layer->bias, rows, layer->width);
    else if (layer->bias)
        add(result, layer->bias, rows, layer->width);
    else if (layer->is_cut)
        cut(result, rows * layer->width);
}

static void run(const dense_layers *plan, int64_t begin, int64_t rows)
{
    sgemm *const multiply = (sgemm *)plan->sgemm;
    const float one = 1.0f, zero = 0.0f, *block = plan->block + begin * plan->layers[0].inputs;
    for (int64_t i = 0; i < plan->n_layers; i++) {
        const dense_layer *layer = &plan->layers[i];
        float *result = layer->result + (i + 1 == plan->n_layers ? begin * layer->width : 0);
        if (layer->panels)
            product(block, rows, layer->inputs, layer->panels, layer->n_sums, layer->width, layer->is_cut, result);
        else {
            multiply("t", "n", &layer->width, &rows, &layer->inputs, &one, layer->weights, &layer->inputs, block,
                     &layer->inputs, &zero, result, &layer->width);
            finish(layer, rows, result);
        }
        block = result;
    }
}

void dense_run(const dense_layers *plan)
{
    for (int64_t begin = 0; begin < plan->rows; begin += plan->at_once) {
        const int64_t left = plan->rows - begin, rows = left < plan->at_once ? left : plan->at_once;
        if (rows >= PRODUCT_ROWS || begin == 0)
            run(plan, begin, rows);
        else
            run(plan, plan->rows - PRODUCT_ROWS, PRODUCT_ROWS); /* some again, with the same result */
    }
}
