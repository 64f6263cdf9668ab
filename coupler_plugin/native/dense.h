/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dense.h
 * Dense layers of a network one after the other: products of a library, and what follows each in one pass.
 *
 * Like packing.h, plans are made before the first step; a call allocates nothing but what the library does.
 */
#ifndef COUPLER_PLUGIN_DENSE_H
#define COUPLER_PLUGIN_DENSE_H

#include <stdint.h>

/** A layer: result = rows times transposed weights, plus bias. */
typedef struct {
    const float *weights;    /**< shape (width, inputs) */
    const float *bias;       /**< shape (width); NULL: none */
    const float *panels;     /**< both as product.h takes them; NULL: the product is that of a library */
    int n_sums;              /**< of product.h */
    int64_t inputs, width;
    int is_cut;              /**< what is below zero becomes zero; a NaN stays */
    float *result;           /**< shape (rows, width) */
} dense_layer;

/** Layers of which each takes the result of the one before. */
typedef struct {
    intptr_t sgemm;          /**< address of the product of BLAS in single precision */
    const float *block;      /**< what the first takes, shape (rows, inputs) */
    int64_t rows, at_once;   /**< all rows, and those that pass through all layers before the next ones do: all of
                                  them where a product is a library's, whose bits may depend on their number */
    const dense_layer *layers;
    int64_t n_layers;
} dense_layers;

/** Compute the results of all layers. */
void dense_run(const dense_layers *plan);

#endif
