/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file packing.h
 * Moves numbers between arrays over the cells and the blocks of emulators: one call for all inputs, one for all outputs.
 * What guards look at in every call is here, too.
 *
 * Python makes these plans before the first step and keeps what they point to; a call reads and writes memory and
 * allocates nothing. All arithmetic is that of numpy in float64, one rounding an operation, and one to float32.
 */
#ifndef COUPLER_PLUGIN_PACKING_H
#define COUPLER_PLUGIN_PACKING_H

#include <stdint.h>

/** Where the numbers of an array over the cells lie. */
typedef struct {
    char *first;             /**< level 0 of cell 0 */
    const int64_t *offset;   /**< of each cell from there [bytes]; NULL: cell times stride */
    int64_t stride;          /**< from cell to cell [bytes] */
    int64_t level;           /**< from level to level [bytes] */
    int is_double;           /**< real64, else real32 */
} packing_array;

/** A block whose numbers are to lie between limits; a NaN lies nowhere inside. */
typedef struct {
    const void *values;
    int64_t n;               /**< numbers in the block */
    int is_double;
    const float *low, *high; /**< limits that are allowed themselves, repeated for `length` numbers */
    int64_t length;          /**< a multiple of the channels */
} packing_band;

/** One input on its way into its channels of the block. */
typedef struct {
    packing_array present;   /**< what its source holds now */
    packing_array window;    /**< what was accumulated of it */
    int64_t count;           /**< samples in the window; 0: the present value is taken */
    int is_mean;             /**< the window holds a sum, which is divided by `count` */
    int64_t levels;
    double scale, offset;    /**< to the units of the emulator */
} packing_input;

/** All inputs of an emulator. */
typedef struct {
    const packing_input *inputs;
    int64_t n_inputs;
    float *block;            /**< shape (cells, channels) */
    int64_t cells, channels;
    packing_band band;       /**< of the block */
    int64_t *places;         /**< of what lies outside the band, noted by the way; room for the block */
} packing_imports;

/** Fields side by side, as a history takes them. */
typedef struct {
    const packing_input *inputs;
    int64_t n_inputs;
    double *values;          /**< shape (cells, columns); the inputs take the first columns */
    int64_t cells, columns;
} packing_table;

/** One term of a closure. */
typedef struct {
    int64_t channel;
    double factor;
} packing_term;

/** One output on its way from its channels of the answers to the host or to memory of the plugin. */
typedef struct {
    packing_array target;
    int64_t channel, levels;
    double scale, offset;    /**< to the units of the target */
    const packing_term *terms; /**< what a closure sums, each times `scale`, instead of taking its own channel */
    int64_t n_terms;
} packing_output;

/** All outputs of an emulator. */
typedef struct {
    const packing_output *outputs;
    int64_t n_outputs;
    const void *answers;     /**< shape (cells, channels) */
    int is_double;
    int64_t cells, channels;
} packing_exports;

/** What terms of the answers must sum to, or must not exceed. */
typedef struct {
    double *values;          /**< shape (cells, channels); scaled where they break the budget */
    int64_t cells, channels;
    const packing_term *terms;
    int64_t n_terms;
    const char *kept;        /**< cells that are left alone */
    int is_sum;              /**< the terms make `target`; else they are at most `available` */
    double target;
    const double *available; /**< of each cell; NULL: `target` in all */
    double seconds;          /**< what the sum is multiplied with before it is compared with what is available */
    double slack;            /**< share by which a budget that was closed may be missed */
    double rounding;         /**< share by which rounding in the module may miss it: more is an intervention */
    char *outcome;           /**< of each cell: 0 nothing done, 1 closed, 2 by more than rounding, 3 limit is no number */
} packing_budget;

/** How far the rows of a block lie from a mean, in units that a triangular matrix makes independent. */
typedef struct {
    const float *block;      /**< shape (cells, channels) */
    int64_t cells, channels;
    const float *mean, *inverse; /**< of each channel: mean, and one over the standard deviation */
    const float *triangle;   /**< the rows of the lower triangle, one after the other */
    float *strip;            /**< room for 64 numbers of each channel */
    float *squares;          /**< of the distances, shape (cells) */
    float largest;           /**< square that is allowed itself */
} packing_distance;

/** Fill the block, note what of it lies outside its band, and return how many numbers that are. */
int64_t packing_import(const packing_imports *plan);

/** Write the values of all inputs into their columns. */
void packing_tabulate(const packing_table *plan);

/** Write the answers of all cells to their targets. */
void packing_export(const packing_exports *plan);

/** Copy `size` bytes from the address of a tensor's memory, which may be the target itself. */
void packing_copy(void *target, intptr_t source, int64_t size);

/** Copy the cells' values of an array into `values`, shape (cells, levels). */
void packing_read(const packing_array *array, int64_t cells, int64_t levels, double *values);

/** Copy `values`, shape (cells, levels), into an array, but for cells that `which` leaves out; NULL: into all. */
void packing_write(const packing_array *array, int64_t cells, int64_t levels, const double *values, const char *which);

/** Return how many numbers of a block lie outside its band. */
int64_t packing_outside(const packing_band *band);

/** Note the places of the numbers outside a band, for which there must be room. */
void packing_locate(const packing_band *band, int64_t *places);

/** Scale the terms of a budget in the cells that break it, note the outcome, and return how many these are. */
int64_t packing_close(const packing_budget *budget);

/** Compute the squares of all distances and return how many are larger than allowed; what is no number is. */
int64_t packing_distant(const packing_distance *distance);

#endif
