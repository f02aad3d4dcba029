// SPDX-License-Identifier: GPL-2.0-or-later
/* Self-modifying code: rewrite an instruction's immediate, call it. */
#include <sys/mman.h>

#include "bench.h"

static uint64_t bench_run(unsigned rounds)
{
    unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t (*volatile function)(void);
    uint64_t sum = 0;

    bench_need(code != MAP_FAILED, "mmap");
    function = (uint32_t (*)(void))code;
    code[5] = 0xc3;             /* ret */
    while (rounds--) {
        uint32_t value = rounds * 2654435761u;

        code[0] = 0xb8;         /* mov eax, imm32 */
        memcpy(code + 1, &value, 4);
        bench_barrier();
        sum = bench_mix(sum, function());
    }
    munmap(code, 4096);
    return sum;
}

BENCH("smc", 80000)
