/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file packing.c
 * The loops of packing.h, in pieces that stay in the first cache from one operation to the next.
 *
 * Each operation is a loop of its own over a piece, which compilers vectorise without contracting it (the build forbids
 * that): the bits are those of numpy, which works in the same way on whole arrays.
 */
#include "packing.h"
#include "wide.h"

#include <string.h>

enum { PIECE = 256 /* numbers */, ROWS_OF_BYTES = 16384 /* of the block that are filled and checked together */ };

static char *place_of(const packing_array *array, int64_t cell)
{
    return array->first + (array->offset ? array->offset[cell] : cell * array->stride);
}

/* ------------------------------------------------------------------------------------------------ runs of numbers */

/* A run is a row of numbers at one distance; a piece is a run in a buffer. */

WIDE static void load(double *restrict piece, int64_t n, const char *from, int64_t step, int is_double)
{
    if (is_double && step == sizeof(double))
        memcpy(piece, from, (size_t)n * sizeof(double));
    else if (is_double)
        for (int64_t i = 0; i < n; i++) piece[i] = *(const double *)(from + i * step);
    else if (step == sizeof(float))
        for (int64_t i = 0; i < n; i++) piece[i] = ((const float *)from)[i];
    else
        for (int64_t i = 0; i < n; i++) piece[i] = *(const float *)(from + i * step);
}

WIDE static void store(const double *restrict piece, int64_t n, char *to, int64_t step, int is_double)
{
    if (is_double && step == sizeof(double))
        memcpy(to, piece, (size_t)n * sizeof(double));
    else if (is_double)
        for (int64_t i = 0; i < n; i++) *(double *)(to + i * step) = piece[i];
    else if (step == sizeof(float))
        for (int64_t i = 0; i < n; i++) ((float *)to)[i] = (float)piece[i];
    else
        for (int64_t i = 0; i < n; i++) *(float *)(to + i * step) = (float)piece[i];
}

WIDE static void divide(double *piece, int64_t n, double by)
{
    for (int64_t i = 0; i < n; i++) piece[i] /= by;
}

WIDE static void multiply(double *piece, int64_t n, double by)
{
    for (int64_t i = 0; i < n; i++) piece[i] *= by;
}

WIDE static void add(double *piece, int64_t n, double number)
{
    for (int64_t i = 0; i < n; i++) piece[i] += number;
}

WIDE static void add_product(double *restrict piece, int64_t n, const double *restrict other, double factor)
{
    for (int64_t i = 0; i < n; i++) piece[i] += other[i] * factor;
}

/* Like Conversion.apply: a factor of 1 and an offset of 0 are no operations, so that -0 stays what it is. */
static void convert(double *piece, int64_t n, double scale, double offset)
{
    if (scale != 1.0) multiply(piece, n, scale);
    if (offset != 0.0) add(piece, n, offset);
}

/* Read the numbers of one level of `n` cells, where a table may say where they lie. */
static void gather(double *piece, int64_t n, const packing_array *array, int64_t cell, int64_t level)
{
    const char *first = array->first + level * array->level;

    if (!array->offset)
        load(piece, n, first + cell * array->stride, array->stride, array->is_double);
    else if (array->is_double)
        for (int64_t i = 0; i < n; i++) piece[i] = *(const double *)(first + array->offset[cell + i]);
    else
        for (int64_t i = 0; i < n; i++) piece[i] = *(const float *)(first + array->offset[cell + i]);
}

static void scatter(const double *piece, int64_t n, const packing_array *array, int64_t cell, int64_t level)
{
    char *first = array->first + level * array->level;

    if (!array->offset)
        store(piece, n, first + cell * array->stride, array->stride, array->is_double);
    else if (array->is_double)
        for (int64_t i = 0; i < n; i++) *(double *)(first + array->offset[cell + i]) = piece[i];
    else
        for (int64_t i = 0; i < n; i++) *(float *)(first + array->offset[cell + i]) = (float)piece[i];
}

/* Whether the levels of a cell are the longer run: they lie side by side, and there are more than a few. */
static int runs_along_levels(const packing_array *array, int64_t cells, int64_t levels)
{
    int64_t size = array->is_double ? sizeof(double) : sizeof(float);

    return array->level == size && (levels >= 8 || levels > cells);
}

/* Whether an array has the form of the block that it fills alone: all of it is then one run. */
static int is_whole(const packing_array *array, int64_t levels, int64_t channels)
{
    int64_t size = array->is_double ? sizeof(double) : sizeof(float);

    return levels == channels && !array->offset && array->level == size && array->stride == levels * size;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---------------------------------------------------------------------------------------------------------- bands */

/* Count what lies outside in a stretch of a block that begins a row. */
WIDE static int64_t count_float(const packing_band *band, const float *restrict values, int64_t n)
{
    const float *restrict low = band->low, *restrict high = band->high;
    int64_t outside = 0;

    for (int64_t first = 0; first < n; first += band->length) {
        const int length = (int)smaller(band->length, n - first);
        int found = 0;
        for (int i = 0; i < length; i++) found += !((values[first + i] >= low[i]) & (values[first + i] <= high[i]));
        outside += found;
    }
    return outside;
}

WIDE static int64_t count_double(const packing_band *band, const double *restrict values, int64_t n)
{
    const float *restrict low = band->low, *restrict high = band->high;
    int64_t outside = 0;

    for (int64_t first = 0; first < n; first += band->length) {
        const int length = (int)smaller(band->length, n - first);
        int found = 0;
        for (int i = 0; i < length; i++)
            found += !((values[first + i] >= (double)low[i]) & (values[first + i] <= (double)high[i]));
        outside += found;
    }
    return outside;
}

int64_t packing_outside(const packing_band *band)
{
    return band->is_double ? count_double(band, band->values, band->n) : count_float(band, band->values, band->n);
}

/* Mark which of up to PIECE numbers lie outside the limits of their places in a run. */
WIDE static void mark_float(char *restrict marks, const float *restrict values, const float *restrict low,
                            const float *restrict high, int n)
{
    for (int i = 0; i < n; i++) marks[i] = !((values[i] >= low[i]) & (values[i] <= high[i]));
}

WIDE static void mark_double(char *restrict marks, const double *restrict values, const float *restrict low,
                             const float *restrict high, int n)
{
    for (int i = 0; i < n; i++) marks[i] = !((values[i] >= (double)low[i]) & (values[i] <= (double)high[i]));
}

/* Note the places of what lies outside between two numbers of a block, of which the first begins a row. */
static int64_t *locate(const packing_band *band, int64_t first, int64_t end, int64_t *places)
{
    char marks[PIECE];

    for (int64_t place = 0; first < end;) {
        const int n = (int)smaller(smaller(PIECE, band->length - place), end - first);
        if (band->is_double)
            mark_double(marks, (const double *)band->values + first, band->low + place, band->high + place, n);
        else
            mark_float(marks, (const float *)band->values + first, band->low + place, band->high + place, n);
        for (const char *mark = marks; (mark = memchr(mark, 1, (size_t)(marks + n - mark))); mark++)
            *places++ = first + (mark - marks);
        first += n;
        place = (place + n) % band->length;
    }
    return places;
}

void packing_locate(const packing_band *band, int64_t *places)
{
    locate(band, 0, band->n, places);
}

/* --------------------------------------------------------------------------------------------------------- inputs */

static void finish_input(const packing_input *input, double *piece, int64_t n)
{
    if (input->count && input->is_mean) divide(piece, n, (double)input->count);
    convert(piece, n, input->scale, input->offset);
}

/* Fill the channels of an input, the first of which is at `block`, for some cells. */
static void fill(const packing_input *input, int64_t cell, int64_t cells, float *block, int64_t channels)
{
    const packing_array *array = input->count ? &input->window : &input->present;
    const int64_t row = channels * (int64_t)sizeof(float);
    int64_t levels = input->levels;
    const int is_copy = !(input->count && input->is_mean) && input->scale == 1.0 && input->offset == 0.0;
    double piece[PIECE];

    if (is_whole(array, levels, channels)) {
        levels *= cells;
        cells = 1;
    }
    if (runs_along_levels(array, cells, levels)) {
        for (int64_t i = 0; i < cells; i++) {
            const char *from = place_of(array, cell + i);
            float *to = block + i * channels;
            if (is_copy && !array->is_double) {
                memcpy(to, from, (size_t)levels * sizeof(float));
                continue;
            }
            for (int64_t level = 0; level < levels; level += PIECE) {
                int64_t n = smaller(PIECE, levels - level);
                load(piece, n, from + level * array->level, array->level, array->is_double);
                finish_input(input, piece, n);
                store(piece, n, (char *)(to + level), sizeof(float), 0);
            }
        }
        return;
    }
    for (int64_t level = 0; level < levels; level++)
        for (int64_t i = 0; i < cells; i += PIECE) {
            int64_t n = smaller(PIECE, cells - i);
            gather(piece, n, array, cell + i, level);
            finish_input(input, piece, n);
            store(piece, n, (char *)(block + i * channels + level), row, 0);
        }
}

int64_t packing_import(const packing_imports *plan)
{
    const int64_t channels = plan->channels;
    int64_t rows = ROWS_OF_BYTES / (int64_t)sizeof(float) / (channels ? channels : 1);
    int64_t *places = plan->places;

    if (rows < 1) rows = 1;
    for (int64_t cell = 0; cell < plan->cells; cell += rows) {
        const int64_t cells = smaller(rows, plan->cells - cell);
        float *block = plan->block + cell * channels, *channel = block;
        for (int64_t i = 0; i < plan->n_inputs; i++) {
            fill(&plan->inputs[i], cell, cells, channel, channels);
            channel += plan->inputs[i].levels;
        }
        if (count_float(&plan->band, block, cells * channels))
            places = locate(&plan->band, cell * channels, (cell + cells) * channels, places);
    }
    return places - plan->places;
}

void packing_tabulate(const packing_table *plan)
{
    const int64_t row = plan->columns * (int64_t)sizeof(double);
    double piece[PIECE], *column = plan->values;

    for (int64_t i = 0; i < plan->n_inputs; i++) {
        const packing_input *input = &plan->inputs[i];
        for (int64_t level = 0; level < input->levels; level++, column++)
            for (int64_t cell = 0; cell < plan->cells; cell += PIECE) {
                int64_t n = smaller(PIECE, plan->cells - cell);
                gather(piece, n, input->count ? &input->window : &input->present, cell, level);
                finish_input(input, piece, n);
                store(piece, n, (char *)(column + cell * plan->columns), row, 1);
            }
    }
}

/* -------------------------------------------------------------------------------------------------------- outputs */

/* Compute `n` numbers of an output, the first from `answers`, `step` bytes from one to the next. */
static void compute(const packing_exports *plan, const packing_output *output, const char *answers, int64_t step,
                    double *piece, int64_t n)
{
    const int64_t size = plan->is_double ? sizeof(double) : sizeof(float);
    double other[PIECE];

    if (!output->n_terms) {
        load(piece, n, answers + output->channel * size, step, plan->is_double);
        convert(piece, n, output->scale, output->offset);
        return;
    }
    for (int64_t term = 0; term < output->n_terms; term++) {
        double *target = term ? other : piece;
        load(target, n, answers + output->terms[term].channel * size, step, plan->is_double);
        convert(target, n, output->scale, output->offset);
        if (term)
            add_product(piece, n, other, output->terms[term].factor);
        else
            multiply(piece, n, output->terms[term].factor);
    }
}

void packing_export(const packing_exports *plan)
{
    const int64_t size = plan->is_double ? sizeof(double) : sizeof(float), row = plan->channels * size;
    const char *answers = plan->answers;
    double piece[PIECE];

    for (int64_t i = 0; i < plan->n_outputs; i++) {
        const packing_output *output = &plan->outputs[i];
        const packing_array *array = &output->target;
        int64_t cells = plan->cells, levels = output->levels;
        if (is_whole(array, levels, plan->channels)) {
            levels *= cells;
            cells = 1;
        }
        if (runs_along_levels(array, cells, levels)) {
            for (int64_t cell = 0; cell < cells; cell++)
                for (int64_t level = 0; level < levels; level += PIECE) {
                    int64_t n = smaller(PIECE, levels - level);
                    compute(plan, output, answers + cell * row + level * size, size, piece, n);
                    store(piece, n, place_of(array, cell) + level * array->level, array->level, array->is_double);
                }
            continue;
        }
        for (int64_t level = 0; level < levels; level++)
            for (int64_t cell = 0; cell < cells; cell += PIECE) {
                int64_t n = smaller(PIECE, cells - cell);
                compute(plan, output, answers + cell * row + level * size, row, piece, n);
                scatter(piece, n, array, cell, level);
            }
    }
}

/* --------------------------------------------------------------------------------------------------------- arrays */

void packing_copy(void *target, intptr_t source, int64_t size)
{
    memmove(target, (const void *)source, (size_t)size);
}

void packing_read(const packing_array *array, int64_t cells, int64_t levels, double *values)
{
    const int64_t step = levels * (int64_t)sizeof(double);
    double piece[PIECE];

    for (int64_t level = 0; level < levels; level++)
        for (int64_t cell = 0; cell < cells; cell += PIECE) {
            int64_t n = smaller(PIECE, cells - cell);
            gather(piece, n, array, cell, level);
            store(piece, n, (char *)(values + cell * levels + level), step, 1);
        }
}

void packing_write(const packing_array *array, int64_t cells, int64_t levels, const double *values, const char *which)
{
    for (int64_t cell = 0; cell < cells; cell++)
        if (!which || which[cell])
            store(values + cell * levels, levels, place_of(array, cell), array->level, array->is_double);
}
