// SPDX-License-Identifier: GPL-2.0-or-later
/* A token goes round a ring of SCALE * 4 processes; each writes to pages of its own when it has it. */
#include <sys/wait.h>
#include <unistd.h>

#include "../bench.h"

#define N (SCALE * 4)
#define PAGES 16

static char memory[PAGES][4096];

static uint64_t take(uint64_t token)
{
    for (unsigned i = 0; i < PAGES; i++) {
        memory[i][token % 4096] += 1;
        token = bench_mix(token, (unsigned char)memory[i][token >> 52]);
    }
    return token;
}

static void pass(int from, int to, unsigned rounds)
{
    uint64_t token;

    while (rounds--) {
        bench_need(read(from, &token, sizeof(token)) == sizeof(token), "read");
        token = take(token);
        bench_need(write(to, &token, sizeof(token)) == sizeof(token), "write");
    }
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t token = 42;
    int pipes[N][2];

    rounds = rounds / N + 1;
    for (unsigned i = 0; i < N; i++) {
        bench_need(pipe(pipes[i]) == 0, "pipe");
    }
    for (unsigned i = 1; i < N; i++) {
        pid_t child = fork();

        bench_need(child >= 0, "fork");
        if (child == 0) {
            pass(pipes[i - 1][0], pipes[i][1], rounds);
            _exit(0);
        }
    }
    while (rounds--) {
        bench_need(write(pipes[0][1], &token, sizeof(token)) == sizeof(token), "write");
        bench_need(read(pipes[N - 1][0], &token, sizeof(token)) == sizeof(token), "read");
        token = take(token);
    }
    for (unsigned i = 1; i < N; i++) {
        int status;

        bench_need(wait(&status) > 0 && status == 0, "wait");
    }
    return token;
}

BENCH(NAME, 20000)
