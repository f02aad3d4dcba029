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
        CHECK(s->region_shift >= 16 && s->region_shift <= 22);
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
static void test_fill(bool wx, bool no_split)
{
    struct tb_store *s = env_start_opt(1, wx, no_split);
    unsigned count[2];
    struct tb **tbs = calloc(4096, sizeof(*tbs));
    struct tb_store_info info;

    for (unsigned round = 0; round < 2; round++) {
        unsigned n = 0;
        struct tb *tb;

        while ((tb = env_make(env_cpu, 0x1000 + 16 * n, 4, 64 + n % 512))) {
            CHECK(n < 4096);
            tbs[n++] = tb;
            CHECK((uint8_t *)tb_exits(tb) == (uint8_t *)tb + TB_HEADER);
            CHECK((no_split ? tb_entry(tb) : tb_cold(tb)) == (uint8_t *)tb_kept(tb));
            CHECK((uint8_t *)tb_kept(tb) >= (uint8_t *)(tb_exits(tb) + ENV_EXITS));
            CHECK(((uintptr_t)tb & 15) == 0 && (no_split || ((uintptr_t)tb_entry(tb) & 15) == 0));
        }
        count[round] = n;
        CHECK(n > 800);
        for (unsigned i = 0; i < n; i++) {
            CHECK(tb_find_host_pc(s, tb_entry(tbs[i])) == tbs[i]);
            CHECK(tb_find_host_pc(s, tb_entry(tbs[i]) + tbs[i]->hot_size / 2) == tbs[i]);
            CHECK(tb_find_host_pc(s, tb_entry(tbs[i]) + tbs[i]->hot_size) == tbs[i]);
            CHECK(tb_find_host_pc(s, tb_cold(tbs[i])) == tbs[i]);
            CHECK(tb_find_host_pc(s, tb_cold(tbs[i]) + COLD_BYTES) == tbs[i]);
            CHECK(no_split || tb_find_host_pc(s, tb_cold(tbs[i]) - 1) == NULL);
            CHECK(tb_find_host_pc(s, (uint8_t *)tbs[i] + 8) == NULL);
            CHECK_EQ(tb_host_off(tbs[i], (uintptr_t)tb_entry(tbs[i])), 0);
            CHECK_EQ(tb_host_off(tbs[i], (uintptr_t)tb_entry(tbs[i]) + tbs[i]->hot_size), tbs[i]->hot_size);
            CHECK_EQ(tb_host_off(tbs[i], (uintptr_t)tb_cold(tbs[i]) + 5), tbs[i]->hot_size + 6);
        }
        tb_store_info(s, &info);
        CHECK_EQ(info.regions_used, info.regions);
        CHECK_EQ(info.flushes, round);
        CHECK(info.used <= info.size && info.high_water == info.used);
        /* The last region of each kind may be empty when that of the other kind is full. */
        CHECK(info.size - info.used < 1024 * info.regions + (2u << s->region_shift));
        tb_flush(env_cpu);
        tb_store_info(s, &info);
        CHECK_EQ(info.used, 0);
        CHECK_EQ(info.regions_used, 0);
        CHECK(info.high_water > 0);
        CHECK_EQ(env.jc_clears, round + 1);
        CHECK(tb_find_host_pc(s, tb_entry(tbs[0])) == NULL);
    }
    CHECK_EQ(count[0], count[1]);
    CHECK_EQ(info.tbs_made, count[0] + count[1]);
    CHECK_EQ(info.guest_insns, 3 * (count[0] + count[1]));
    CHECK_EQ(env_cpu->stat[ST_TB_MADE], count[0] + count[1]);
    CHECK_EQ(env_cpu->stat[ST_CACHE_FLUSHES], 2);
    free(tbs);
    env_stop();
}

static void set_parts(struct tb *tb, uint8_t *code, uint32_t n, uint8_t *cold, uint32_t n_cold)
{
    struct tb *w = tb_rw(env_vm.store, tb);

    tb_place_parts(env_cpu, tb, 0, 0, 0);
    tb_place_code(env_cpu, tb, code, n, cold, n_cold);
    CHECK(w->hot_size == n && w->cold_size == n_cold);
}

/* A TB that does not fit the rest of a region goes to the next one; what was given back is given out
 * again. */
static void test_cancel_and_retry(void)
{
    struct tb_store *s = env_start(1, false);
    struct tb_region *last = &s->regions[s->n_regions - 1];
    struct tb_room m;
    struct tb *a = tb_alloc(env_cpu, 100, &m), *b;

    memset(m.code, 0xcc, (size_t)(m.code_limit - m.code));
    memset(m.cold, 0xcc, (size_t)(m.cold_limit - m.cold));
    tb_alloc_cancel(env_cpu, a);
    b = tb_alloc(env_cpu, 100, &m);
    CHECK(a == b && (uint8_t *)a == last->start && m.code == s->regions[0].start + TB_ALIGN);
    CHECK(tb_find_host_pc(s, m.code) == NULL); /* open, not published */
    set_parts(b, m.code, (uint32_t)(m.code_limit - 4096 - m.code), m.cold, 16);
    tb_alloc_done(env_cpu, b, m.cold_limit - 4096);
    CHECK(tb_find_host_pc(s, m.code_limit - 4096) == b && tb_find_host_pc(s, m.code_limit - 4095) == NULL);
    CHECK(tb_find_host_pc(s, m.cold + 16) == b && tb_find_host_pc(s, m.cold + 17) == NULL);
    a = tb_alloc(env_cpu, 8192, &m);
    CHECK((uint8_t *)a == last[-1].start && m.cold_limit == last->start - 1);
    CHECK(m.code == s->regions[1].start + TB_ALIGN && m.code_limit == s->regions[1].end - 1);
    CHECK(*(uint64_t *)a == 0);
    set_parts(a, m.code, (uint32_t)(m.code_limit - m.code), m.cold, (uint32_t)(m.cold_limit - m.cold));
    tb_alloc_done(env_cpu, a, m.cold_limit); /* to the last byte */
    CHECK(tb_find_host_pc(s, m.code_limit) == a && tb_find_host_pc(s, m.code_limit + 1) == NULL);
    CHECK(tb_find_host_pc(s, m.cold_limit) == a && tb_find_host_pc(s, m.cold_limit + 1) == NULL);
    /* One kind takes what the other has not. */
    for (unsigned i = 0; i < s->n_regions - 5; i++) {
        a = tb_alloc(env_cpu, 1, &m);
        CHECK(a && m.code == s->regions[2].start + 16 * (i + 1) && (uint8_t *)a == last[-2 - (int)i].start);
        set_parts(a, m.code, 0, m.cold, 0);
        tb_alloc_done(env_cpu, a, m.cold_limit);
    }
    CHECK(tb_alloc(env_cpu, 1, &m) == NULL);
    env_stop();
}

static void test_min_always_fits(void)
{
    struct tb_store *s = env_start(1, false);
    struct tb_room room;

    s->vm->n_cpus = 1;
    CHECK(tb_alloc(env_cpu, TB_MIN_MAX, &room) != NULL);
    CHECK(TB_MIN_MAX + TB_HEADER < 1u << REGION_MIN_SHIFT);
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

    CHECK(tb_entry(a) == s->regions[0].start + TB_ALIGN && tb_entry(b) == s->regions[1].start + TB_ALIGN);
    CHECK(tb_entry(a2) < s->regions[0].end && tb_entry(a2) > tb_entry(a));
    CHECK((uint8_t *)a == s->regions[s->n_regions - 1].start && (uint8_t *)b == s->regions[s->n_regions - 2].start);
    CHECK(tb_find_host_pc(s, tb_entry(b)) == b && tb_find_host_pc(s, tb_entry(a2)) == a2);
    free(other);
    env_stop();
}

/* Code written through the writable view runs in the executable one; that one cannot be written. */
static void test_run(bool wx)
{
    static const uint8_t bytes[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */
    struct tb_store *s = env_start(4, wx);
    struct tb_room room;
    struct tb *tb = tb_alloc(env_cpu, 64, &room);
    uint8_t *code = room.code;
    int pages = 0;
    char line[256];
    FILE *maps;

    CHECK((s->rw_delta != 0) == wx);
    memcpy(tb_rw(s, code), bytes, sizeof(bytes));
    set_parts(tb, code, sizeof(bytes), room.cold, 0);
    tb_alloc_done(env_cpu, tb, room.cold);
    CHECK_EQ(((int (*)(void))(uintptr_t)code)(), 42);
    CHECK(resident_pages(s->base, s->size) <= 1024);

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
    for (unsigned i = 0; i < 4; i++) {
        test_fill(i & 1, i & 2);
    }
    test_cancel_and_retry();
    test_min_always_fits();
    test_flush_every();
    test_two_owners();
    test_run(false);
    test_run(true);
    return 0;
}
