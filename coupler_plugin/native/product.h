/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file product.h
 * Products of rows with the weights of a dense layer, and what follows them, in one pass.
 *
 * A sum runs over the inputs in an order that is known, as the library of torch has it for some shapes: which, is found
 * out where the layers are made (emulator/layers.py).
 */
#ifndef COUPLER_PLUGIN_PRODUCT_H
#define COUPLER_PLUGIN_PRODUCT_H

#include <stdint.h>

/** A product takes no fewer rows. */
enum { PRODUCT_ROWS = 6 };

/** Return whether this processor has the instructions. */
int product_is_here(void);

/**
 * Compute result = rows times transposed weights, plus bias.
 *
 * @param block    shape (rows, inputs)
 * @param panels   bias, or zeros, and weights, shape (panels, 1 + inputs, 16 columns; 8 for four sums); columns of
 *                 zeros fill up the last panel
 * @param n_sums   1: one input after the other, each product and sum with one rounding; 4: four sums of every fourth
 *                 input, with a rounding after each product and each sum, which are added in the end; the number of
 *                 inputs is a multiple of 4
 * @param is_cut   what is below zero becomes zero; a NaN stays
 * @param result   shape (rows, width)
 */
void product(const float *block, int64_t rows, int64_t inputs, const float *panels, int n_sums, int64_t width,
             int is_cut, float *result);

#endif
