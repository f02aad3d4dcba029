/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tb_region.c - reservation, regions, exhaustion, flush, host PC -> TB, W^X.
 */
#include "test_tb_env.h"

#include <sys/mman.h>
#include <sys/resource.h>

static uint64_t resident_pages(const void *p, size_t bytes)
{
    size_t n = bytes / 4096;
    unsigned char *vec = malloc(n);
    uint64_t sum = 0;

    CHECK(mincore((void *)p, bytes, vec) == 0);
    for (size_t i = 0; i < n; i++) {
        sum += vec[i] & 1;
    }
    free(vec);
    return sum;
}

static void test_sizes(void)
{
    static const unsigned mib[] = {1, 2, 3, 7, 32, 48, 100, 512, 2047};

    for (unsigned i = 0; i < sizeof(mib) / sizeof(*mib); i++) {
        struct tb_store *s = env_start(mib[i], false);
        struct tb_store_info info;

        tb_store_info(s, &info);
        CHECK_EQ(info.size, (uint64_t)mib[i] << 20);
        CHECK_EQ(info.used, 0);
        CHECK(info.regions >= 2);
        CHECK(s->region_shift >= 16 && s->region_shift <= 24);
        CHECK_EQ(s->regions[0].start, s->base);
        CHECK_EQ(s->regions[s->n_regions - 1].end, s->base + s->size);
        CHECK_EQ(resident_pages(s->base, s->size), 0);
        CHECK(tb_is_code_addr(s, s->base) && tb_is_code_addr(s, s->base + s->size - 1));
        CHECK(!tb_is_code_addr(s, s->base - 1) && !tb_is_code_addr(s, s->base + s->size));
        CHECK(!tb_is_code_addr(NULL, s->base));
        CHECK(tb_find_host_pc(s, s->base) == NULL);
        env_stop();
    }
}

static void test_bad_size(void)
{
    static const unsigned mib[] = {0, 2048, ~0u};

    for (unsigned i = 0; i < 3; i++) {
        struct xbt_vm vm = {.opt.tb_size_mib = mib[i]};
        const char *why = NULL;

        CHECK(tb_store_new(&vm, &tb_hash_builtin, &why) == NULL);
        CHECK(why && strstr(why, "tb-size"));
    }
}

/* A refused reservation says what was refused. */
static void test_refused(bool wx)
{
    struct rlimit old, small = {64u << 20, 64u << 20};
    struct xbt_vm vm = {.opt = {.tb_size_mib = 1024, .wx = wx}};
    const char *why = NULL;

#ifdef __SANITIZE_ADDRESS__
    return;
#endif
    CHECK(getrlimit(RLIMIT_AS, &old) == 0);
    small.rlim_max = old.rlim_max;
    CHECK(setrlimit(RLIMIT_AS, &small) == 0);
    CHECK(tb_store_new(&vm, &tb_hash_builtin, &why) == NULL);
    CHECK(setrlimit(RLIMIT_AS, &old) == 0);
    CHECK(why && strstr(why, "1024 MiB") && strstr(why, "Cannot allocate memory") && strstr(why, "tb-size"));
}

/* Fill, find every TB by every kind of PC, flush, fill again: the same number fits. */
static void test_fill(bool wx)
{
    struct tb_store *s = env_start(1, wx);
    unsigned count[2];
    struct tb **tbs = calloc(4096, sizeof(*tbs));
    struct tb_store_info info;

    for (unsigned round = 0; round < 2; round++) {
        unsigned n = 0;
        struct tb *tb;

        while ((tb = env_make(env_cpu, 0x1000 + 16 * n, 4, 64 + n % 512))) {
            CHECK(n < 4096);
            tbs[n++] = tb;
            CHECK((uint8_t *)tb->exit == (uint8_t *)tb + TB_HEADER && tb->entry == (uint8_t *)(tb->exit + ENV_EXITS));
            CHECK(((uintptr_t)tb & 15) == 0);
        }
        count[round] = n;
        CHECK(n > 1000);
        for (unsigned i = 0; i < n; i++) {
            CHECK(tb_find_host_pc(s, tbs[i]->entry) == tbs[i]);
            CHECK(tb_find_host_pc(s, tbs[i]->entry + tbs[i]->host_size / 2) == tbs[i]);
            CHECK(tb_find_host_pc(s, tbs[i]->code_end) == tbs[i]);
            CHECK(tb_find_host_pc(s, (uint8_t *)tbs[i] + 8) == NULL);
        }
        tb_store_info(s, &info);
        CHECK_EQ(info.regions_used, info.regions);
        CHECK_EQ(info.flushes, round);
        CHECK(info.used <= info.size && info.high_water == info.used);
        CHECK(info.size - info.used < 1024 * info.regions);
        tb_flush(env_cpu);
        tb_store_info(s, &info);
        CHECK_EQ(info.used, 0);
        CHECK_EQ(info.regions_used, 0);
        CHECK(info.high_water > 0);
        CHECK_EQ(env.jc_clears, round + 1);
        CHECK(tb_find_host_pc(s, tbs[0]->entry) == NULL);
    }
    CHECK_EQ(count[0], count[1]);
    CHECK_EQ(info.tbs_made, count[0] + count[1]);
    CHECK_EQ(info.guest_insns, 3 * (count[0] + count[1]));
    CHECK_EQ(env_cpu->stat[ST_TB_MADE], count[0] + count[1]);
    CHECK_EQ(env_cpu->stat[ST_CACHE_FLUSHES], 2);
    free(tbs);
    env_stop();
}

/* A TB that does not fit the rest of a region goes to the next one; what was given back is given out
 * again. */
static void test_cancel_and_retry(void)
{
    struct tb_store *s = env_start(1, false);
    uint8_t *code, *limit;
    struct tb *a = tb_alloc(env_cpu, 100, &code, &limit), *b;

    memset(code, 0xcc, (size_t)(limit - code));
    tb_alloc_cancel(env_cpu, a);
    b = tb_alloc(env_cpu, 100, &code, &limit);
    CHECK(a == b);
    CHECK(tb_find_host_pc(s, code) == NULL); /* open, not published */
    tb_alloc_done(env_cpu, b, limit - 4096);
    CHECK(b->code_end == limit - 4096);
    CHECK(tb_find_host_pc(s, limit - 4097) == b);
    a = tb_alloc(env_cpu, 8192, &code, &limit);
    CHECK((uint8_t *)a == s->regions[1].start && limit == s->regions[1].end);
    CHECK(*(uint64_t *)a == 0);
    tb_alloc_done(env_cpu, a, limit); /* to the last byte */
    CHECK(tb_find_host_pc(s, limit - 1) == a);
    CHECK(tb_alloc(env_cpu, 1, &code, &limit) == NULL);
    env_stop();
}

static void test_min_always_fits(void)
{
    struct tb_store *s = env_start(1, false);
    uint8_t *code, *limit;

    s->vm->n_cpus = 1;
    CHECK(tb_alloc(env_cpu, TB_MIN_MAX, &code, &limit) != NULL);
    CHECK(TB_MIN_MAX + TB_HEADER <= 1u << REGION_MIN_SHIFT);
    env_stop();
}

static void test_flush_every(void)
{
    env_start(1, false);
    env_vm.opt.flush_every = 5;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 5; i++) {
            CHECK(env_make(env_cpu, 0x1000, 4, 64) != NULL);
        }
        CHECK(env_make(env_cpu, 0x1000, 4, 64) == NULL);
        tb_flush(env_cpu);
    }
    env_stop();
}

/* Two vCPUs never share a region. */
static void test_two_owners(void)
{
    struct tb_store *s = env_start(1, false);
    struct guest_cpu *other = env_new_cpu(1);
    struct tb *a = env_make(env_cpu, 0x1000, 4, 64), *b = env_make(other, 0x2000, 4, 64);
    struct tb *a2 = env_make(env_cpu, 0x3000, 4, 64);

    CHECK((uint8_t *)a == s->regions[0].start && (uint8_t *)b == s->regions[1].start);
    CHECK((uint8_t *)a2 < s->regions[0].end && a2 > a);
    CHECK(tb_find_host_pc(s, b->entry) == b && tb_find_host_pc(s, a2->entry) == a2);
    free(other);
    env_stop();
}

/* Code written through the writable view runs in the executable one; that one cannot be written. */
static void test_run(bool wx)
{
    static const uint8_t bytes[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */
    struct tb_store *s = env_start(4, wx);
    uint8_t *code, *limit;
    struct tb *tb = tb_alloc(env_cpu, 64, &code, &limit);
    int pages = 0;
    char line[256];
    FILE *maps;

    CHECK((s->rw_delta != 0) == wx);
    memcpy(tb_rw(s, code), bytes, sizeof(bytes));
    tb_alloc_done(env_cpu, tb, code + sizeof(bytes));
    CHECK_EQ(((int (*)(void))(uintptr_t)code)(), 42);
    CHECK(resident_pages(s->base, s->size) <= 512);

    maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof(line), maps)) {
        unsigned long lo, hi;
        char perm[8];

        CHECK(sscanf(line, "%lx-%lx %7s", &lo, &hi, perm) == 3);
        if ((uintptr_t)code >= lo && (uintptr_t)code < hi) {
            CHECK(strncmp(perm, wx ? "r-x" : "rwx", 3) == 0);
            pages++;
        }
        if (wx && (uintptr_t)tb_rw(s, code) >= lo && (uintptr_t)tb_rw(s, code) < hi) {
            CHECK(strncmp(perm, "rw-", 3) == 0);
            pages++;
        }
    }
    fclose(maps);
    CHECK_EQ(pages, wx ? 2 : 1);
    env_stop();
}

int main(void)
{
    test_sizes();
    test_bad_size();
    test_refused(false);
    test_refused(true);
    test_fill(false);
    test_fill(true);
    test_cancel_and_retry();
    test_min_always_fits();
    test_flush_every();
    test_two_owners();
    test_run(false);
    test_run(true);
    return 0;
}
