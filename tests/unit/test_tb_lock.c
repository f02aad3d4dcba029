/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tb_lock.c - the engine's mutex: mutual exclusion with sleepers, and that each violation of the order ends the
 * program in builds with checks.
 */
#include "test_tb_env.h"

#include <pthread.h>
#include <sys/wait.h>

enum { THREADS = 4 };

static struct xbt_lock store, hash;
static uint64_t counter;

static void *counts(void *arg)
{
    for (unsigned i = 0; i < 20000; i++) {
        xbt_lock(&store);
        xbt_assert_locked(&store);
        counter++;
        if (i % 512 == 0) {                     /* long enough that others go to sleep */
            struct timespec t = {0, 50000};

            nanosleep(&t, NULL);
        }
        xbt_unlock(&store);
    }
    return arg;
}

static void test_exclusion(void)
{
    pthread_t t[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&t[i], NULL, counts, NULL) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
    }
    CHECK_EQ(counter, 20000 * THREADS);
    CHECK_EQ(store.v, 0);
}

static void in_order(void)
{
    xbt_lock(&store);
    xbt_lock(&hash);
    xbt_unlock(&hash);
    xbt_unlock(&store);
    xbt_lock(&hash);
    xbt_unlock(&hash);
}

static void reversed(void)
{
    xbt_lock(&hash);
    xbt_lock(&store);
}

static void twice(void)
{
    struct xbt_lock other;

    xbt_lock_init(&other, RANK_STORE);
    xbt_lock(&store);
    xbt_lock(&other);
}

static void not_held(void)
{
    xbt_lock(&hash);
    xbt_unlock(&store);
}

static void asserted(void)
{
    xbt_assert_locked(&store);
}

static void expect_abort(void (*fn)(void), bool abort_expected)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        fclose(stderr);
        fn();
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (abort_expected) {
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    } else {
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

int main(void)
{
    xbt_lock_init(&store, RANK_STORE);
    xbt_lock_init(&hash, RANK_HASH);
    expect_abort(in_order, false);
    expect_abort(reversed, true);
    expect_abort(twice, true);
    expect_abort(not_held, true);
    expect_abort(asserted, true);
    test_exclusion();
    return 0;
}
