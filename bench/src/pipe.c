// SPDX-License-Identifier: GPL-2.0-or-later
/* A byte sent to a child and back through two pipes: context switches. */
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static void echo(int in, int out)
{
    unsigned char byte;

    while (read(in, &byte, 1) == 1) {
        byte = byte * 5 + 1;
        bench_need(write(out, &byte, 1) == 1, "write");
    }
    _exit(0);
}

static uint64_t bench_run(unsigned rounds)
{
    int to[2], from[2];
    unsigned char byte = 1;
    uint64_t sum = 0;
    pid_t child;

    bench_need(pipe(to) == 0 && pipe(from) == 0, "pipe");
    child = fork();
    bench_need(child >= 0, "fork");
    if (child == 0) {
        close(to[1]);
        close(from[0]);
        echo(to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    while (rounds--) {
        bench_need(write(to[1], &byte, 1) == 1, "write");
        bench_need(read(from[0], &byte, 1) == 1, "read");
        sum = bench_mix(sum, byte);
    }
    close(to[1]);
    waitpid(child, NULL, 0);
    return sum;
}

BENCH("pipe", 10000)
