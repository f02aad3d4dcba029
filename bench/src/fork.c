// SPDX-License-Identifier: GPL-2.0-or-later
/* fork, exit of the child, wait. */
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;

    while (rounds--) {
        int status = 0;
        pid_t child = fork();

        bench_need(child >= 0, "fork");
        if (child == 0) {
            _exit(rounds & 0x7f);
        }
        bench_need(waitpid(child, &status, 0) == child, "waitpid");
        sum = bench_mix(sum, WEXITSTATUS(status));
    }
    return sum;
}

BENCH("fork", 800)
