// SPDX-License-Identifier: GPL-2.0-or-later
/* Code that is executed once: each round calls all functions of a new copy of them. */
#include <sys/mman.h>

#include "code.h"

extern const char __start_once[], __stop_once[];

static uint64_t bench_run(unsigned rounds)
{
    static uint64_t table[TABLE];
    size_t size = __stop_once - __start_once;
    uint64_t sum = 0;

    while (rounds--) {
        char *copy = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        bench_need(copy != MAP_FAILED, "mmap");
        memcpy(copy, __start_once, size);
        for (unsigned i = 0; i < N_FUNCTIONS; i++) {
            size_t offset = (const char *)functions[i] - __start_once;

            sum = ((code_function)(void *)(copy + offset))(sum, table);
        }
    }
    return sum;
}

BENCH(NAME, 10)
