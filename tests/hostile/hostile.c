/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hostile.c - random guests, in every mode and ring, that do their worst to the engine.  Built with ASan and UBSan.
 *
 *   hostile [--machine M] [--rounds N] [--first N]      rounds 0: until stopped
 *
 * Rounds run in a child; when it dies the parent says in which round and how to run that alone.  See world_check() for
 * what must hold after each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hostile/world.h"

#define ENTRIES 6       /* into the code of one guest */

static struct { uint64_t round, ended[4], insns; } *shared;

static void run_round(uint64_t round)
{
    world_reset(round);
    guest_make();
    for (unsigned i = 0; i < ENTRIES; i++) {
        enum vcpu_exit why = world_run();
        shared->ended[why & 3]++;
        world_check();
        if (why == VCPU_EXIT_STOP)
            break;
        guest_again();
    }
}

static void child(const char *machine, uint64_t first, uint64_t rounds)
{
    world_init(machine);
    for (uint64_t i = 0; !rounds || i < rounds; i++) {
        shared->round = first + i;
        run_round(first + i);
    }
    shared->insns = world.c->stat[ST_TB_INSNS];
    fflush(NULL);
    _exit(0);
}

int main(int argc, char **argv)
{
    const char *machine = "default";
    uint64_t rounds = 1000, first = 1;
    int status;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--machine") == 0)
            machine = argv[i + 1];
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--first") == 0)
            first = strtoull(argv[i + 1], NULL, 0);
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    pid_t pid = fork();
    if (pid == 0)
        child(machine, first, rounds);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 1;
    printf("%s: rounds %llu to %llu, %llu instructions translated; halted %llu, shut down %llu, stopped %llu\n", machine,
           (unsigned long long)first, (unsigned long long)shared->round, (unsigned long long)shared->insns,
           (unsigned long long)shared->ended[VCPU_EXIT_HALT], (unsigned long long)shared->ended[VCPU_EXIT_SHUTDOWN],
           (unsigned long long)shared->ended[VCPU_EXIT_STOP]);
    if (status == 0)
        return 0;
    printf("FAILED in round %llu (status %x): hostile --machine %s --first %llu --rounds 1\n",
           (unsigned long long)shared->round, (unsigned)status, machine, (unsigned long long)shared->round);
    return 1;
}
