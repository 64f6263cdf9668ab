/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wide.h
 * Loops for several widths of vectors.
 */
#ifndef COUPLER_PLUGIN_WIDE_H
#define COUPLER_PLUGIN_WIDE_H

/* On x86-64 the loops exist for several widths of vectors; the processor chooses when the library is loaded. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

#endif
