/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file product.c
 * The products of product.h.
 *
 * A tile of results stays in twelve registers while the inputs pass by: as many as the two units for products need to
 * be busy at all times, and the processor has sixteen.
 */
#include "product.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define HERE __attribute__((target("avx2,fma")))
/** Made anew for each of its constants, so that all loops over them are unrolled. */
#define MADE_ANEW static inline __attribute__((always_inline)) HERE

enum { LANES = 8, MOST_COLUMNS = 16 };

typedef struct {
    int rows, vectors, sums;
} shape;

MADE_ANEW void tile(const shape of, const float *block, int64_t inputs, const float *panel, int64_t width,
                    int64_t columns, int is_cut, float *result)
{
    __m256 sums[6][2][4];
    const float *bias = panel;
    panel += of.vectors * LANES;
#pragma GCC unroll 6
    for (int row = 0; row < of.rows; row++)
#pragma GCC unroll 2
        for (int i = 0; i < of.vectors; i++)
#pragma GCC unroll 4
            for (int part = 0; part < of.sums; part++) sums[row][i][part] = _mm256_setzero_ps();

    for (int64_t input = 0; input < inputs; input += of.sums)
#pragma GCC unroll 4
        for (int part = 0; part < of.sums; part++, panel += of.vectors * LANES) {
            __m256 weights[2];
#pragma GCC unroll 2
            for (int i = 0; i < of.vectors; i++) weights[i] = _mm256_loadu_ps(panel + i * LANES);
#pragma GCC unroll 6
            for (int row = 0; row < of.rows; row++) {
                const __m256 value = _mm256_set1_ps(block[row * inputs + input + part]);
#pragma GCC unroll 2
                for (int i = 0; i < of.vectors; i++) {
                    __m256 *const sum = &sums[row][i][part];
                    *sum = of.sums == 1 ? _mm256_fmadd_ps(value, weights[i], *sum)
                                        : _mm256_add_ps(_mm256_mul_ps(value, weights[i]), *sum);
                }
            }
        }

#pragma GCC unroll 6
    for (int row = 0; row < of.rows; row++, result += width) {
        __m256 made[2];
#pragma GCC unroll 2
        for (int i = 0; i < of.vectors; i++) {
            __m256 *const sum = sums[row][i];
            if (of.sums == 4) sum[0] = _mm256_add_ps(_mm256_add_ps(sum[0], sum[2]), _mm256_add_ps(sum[1], sum[3]));
            made[i] = _mm256_add_ps(sum[0], _mm256_loadu_ps(bias + i * LANES));
            if (is_cut) made[i] = _mm256_max_ps(_mm256_setzero_ps(), made[i]); /* of a NaN and zero the second */
        }
#pragma GCC unroll 2
        for (int i = 0; i < of.vectors; i++) {
            const int64_t left = columns - i * LANES;
            if (left >= LANES)
                _mm256_storeu_ps(result + i * LANES, made[i]);
            else if (left > 0)
                memcpy(result + i * LANES, &made[i], (size_t)left * sizeof *result);
        }
    }
}

MADE_ANEW void tiles(const shape of, const float *block, int64_t rows, int64_t inputs, const float *panels,
                     int64_t width, int is_cut, float *result)
{
    const int64_t full = of.vectors * LANES;
    for (int64_t column = 0; column < width; column += full, panels += (1 + inputs) * full)
        for (int64_t begin = 0; begin < rows; begin += of.rows) {
            const int64_t row = begin + of.rows <= rows ? begin : rows - of.rows; /* some again, with the same result */
            const int64_t columns = width - column < full ? width - column : full;
            tile(of, block + row * inputs, inputs, panels, width, columns, is_cut, result + row * width + column);
        }
}

HERE void product(const float *block, int64_t rows, int64_t inputs, const float *panels, int n_sums, int64_t width,
                  int is_cut, float *result)
{
    if (n_sums == 1)
        tiles((shape){PRODUCT_ROWS, 2, 1}, block, rows, inputs, panels, width, is_cut, result);
    else
        tiles((shape){PRODUCT_ROWS / 2, 1, 4}, block, rows, inputs, panels, width, is_cut, result);
}

int product_is_here(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#else

void product(const float *block, int64_t rows, int64_t inputs, const float *panels, int n_sums, int64_t width,
             int is_cut, float *result)
{
    (void)block, (void)rows, (void)inputs, (void)panels, (void)n_sums, (void)width, (void)is_cut, (void)result;
}

int product_is_here(void)
{
    return 0;
}

#endif
