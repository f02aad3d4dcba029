/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * region.c - the memory of the code cache: reservation, regions, allocation of one TB at a time, and
 * the way back from a host PC to its TB.
 *
 * One reservation of opt.tb_size_mib is divided into regions of equal power-of-two size.  A vCPU thread
 * takes a region under the store's lock and then bumps its `free` pointer without one.  Memory is
 * touched only as TBs are made. With opt.wx a memfd is mapped twice (read-write and read-execute);
 * pages are shared, so both views are coherent.
 *
 * Left to others: what is inside a TB (translator/), finding by guest address (lookup.c), freeing
 * single TBs (nobody does: only a flush gives memory back).
 */
#include "tb-store/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1u
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x10u /* Linux 6.3: wanted when vm.memfd_noexec is set */
#endif

#ifdef XBT_CHECKS
__thread uint32_t xbt_ranks_held __attribute__((tls_model("initial-exec")));
#endif

void *store_reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    /* These are sparse tables: a huge page would make 2 MiB of each touched entry. */
    madvise(p, bytes, MADV_NOHUGEPAGE);
    return p;
}

/* ---- reservation: start-up only, libc allowed ---- */

static bool refuse(const char **why, unsigned mib, const char *what, int err)
{
    static char text[256];

    bool forbidden = err == EACCES || err == EPERM;

    snprintf(text, sizeof(text), "cannot %s a code cache of %u MiB: %s; %s", what, mib, strerror(err),
             forbidden ? "the host forbids such executable memory: change wx" : "try a smaller tb-size");
    *why = text;
    return false;
}

#define HUGE_PAGE ((size_t)2 << 20)

static bool map_rwx(struct tb_store *s, unsigned mib, const char **why)
{
    const size_t slack = s->size >= HUGE_PAGE ? HUGE_PAGE : 0;
    uint8_t *p = mmap(NULL, s->size + slack, PROT_READ | PROT_WRITE | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        return refuse(why, mib, "reserve", errno);
    }
    s->base = p;
    if (slack) {
        /* Code spread over megabytes is hard on the host's instruction TLB. */
        size_t before = -(uintptr_t)p & (HUGE_PAGE - 1);

        s->base = p + before;
        if (before) {
            munmap(p, before);
        }
        if (before < slack) {
            munmap(s->base + s->size, slack - before);
        }
        madvise(s->base, s->size, s->vm->opt.no_huge_pages ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    }
    s->rw_delta = 0;
    return true;
}

static int code_memfd(void)
{
    int fd = (int)syscall(SYS_memfd_create, "xbt-code", MFD_CLOEXEC | MFD_EXEC);

    if (fd < 0 && errno == EINVAL) {
        fd = (int)syscall(SYS_memfd_create, "xbt-code", MFD_CLOEXEC);
    }
    return fd;
}

static bool map_dual(struct tb_store *s, unsigned mib, const char **why)
{
    int fd = code_memfd();
    void *rx, *rw;
    int err;

    if (fd < 0) {
        return refuse(why, mib, "create the memfd of", errno);
    }
    if (ftruncate(fd, (off_t)s->size) < 0) {
        err = errno;
        close(fd);
        return refuse(why, mib, "size the memfd of", err);
    }
    rw = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    err = errno;
    rx = MAP_FAILED;
    if (rw != MAP_FAILED) {
        rx = mmap(NULL, s->size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_NORESERVE, fd, 0);
    }
    if (rw != MAP_FAILED && rx == MAP_FAILED) {
        err = errno;
        munmap(rw, s->size);
    }
    close(fd);
    if (rx == MAP_FAILED) {
        return refuse(why, mib, "map (writable and executable views of)", err);
    }
    s->base = rx;
    s->rw_delta = (uint8_t *)rw - (uint8_t *)rx;
    madvise(rw, s->size, MADV_DONTFORK);
    return true;
}

/* At least two regions for each vCPU where the size allows, so that one thread's full region is not a
 * full cache. */
static void choose_regions(struct tb_store *s)
{
    size_t per = s->size / (2 * (s->vm->n_cpus ? s->vm->n_cpus : 1));

    s->region_shift = REGION_MIN_SHIFT;
    while (s->region_shift < REGION_MAX_SHIFT && ((size_t)2 << s->region_shift) <= per) {
        s->region_shift++;
    }
    s->n_regions = (unsigned)((s->size + ((size_t)1 << s->region_shift) - 1) >> s->region_shift);
}

bool regions_init(struct tb_store *s, const char **why)
{
    unsigned mib = s->vm->opt.tb_size_mib;
    size_t per_region;

    if (mib < 1 || mib > 2047) {
        *why = "tb-size must be from 1 to 2047 (MiB)";
        return false;
    }
    s->size = (size_t)mib << 20;
    if (!(s->vm->opt.wx ? map_dual(s, mib, why) : map_rwx(s, mib, why))) {
        return false;
    }
    madvise(s->base, s->size, MADV_DONTFORK);
    choose_regions(s);
    /* The bound on the number of TBs in a region: each has at least its header. */
    per_region = ((size_t)1 << s->region_shift) / TB_HEADER + 1;
    s->index_bytes = s->n_regions * per_region * sizeof(uint32_t);
    s->index_mem = store_reserve(s->index_bytes);
    s->regions = calloc(s->n_regions, sizeof(*s->regions));
    if (!s->index_mem || !s->regions) {
        regions_free(s);
        return refuse(why, mib, "reserve the index of", ENOMEM);
    }
    for (unsigned i = 0; i < s->n_regions; i++) {
        struct tb_region *r = &s->regions[i];
        size_t end = (size_t)(i + 1) << s->region_shift;

        r->start = s->base + ((size_t)i << s->region_shift);
        r->end = s->base + (end < s->size ? end : s->size);
        r->free = r->start;
        r->index = s->index_mem + i * per_region;
    }
    return true;
}

void regions_free(struct tb_store *s)
{
    if (s->base) {
        if (s->rw_delta) {
            munmap(s->base + s->rw_delta, s->size);
        }
        munmap(s->base, s->size);
        s->base = NULL;
    }
    if (s->index_mem) {
        munmap(s->index_mem, s->index_bytes);
        s->index_mem = NULL;
    }
    free(s->regions);
    s->regions = NULL;
}

void *tb_rw(struct tb_store *s, void *rx)
{
    return (uint8_t *)rx + s->rw_delta;
}

/* ---- allocation ---- */

static struct tb_region *region_take(struct tb_store *s)
{
    struct tb_region *r = NULL;

    xbt_lock(&s->lock);
    if (s->next_region < s->n_regions) {
        r = &s->regions[s->next_region++];
    }
    xbt_unlock(&s->lock);
    return r;
}

static inline size_t region_room(const struct tb_region *r)
{
    return (size_t)(r->end - r->free);
}

struct tb *tb_alloc(struct guest_cpu *c, size_t min, uint8_t **code, uint8_t **limit)
{
    struct tb_store *s = c->vm->store;
    struct tb_vcpu *v = &s->vcpu[c->index];
    unsigned every = s->vm->opt.flush_every;
    size_t need = TB_HEADER + min;
    struct tb *tb;

    XBT_ASSERT(!v->open && min <= TB_MIN_MAX);
    if (every && __atomic_load_n(&s->made_since_flush, __ATOMIC_RELAXED) >= every) {
        return NULL;
    }
    if (!v->region || region_room(v->region) < need) {
        struct tb_region *r = region_take(s);

        if (!r || region_room(r) < need) {
            return NULL;
        }
        v->region = r;
    }
    tb = (struct tb *)v->region->free;
    xbt_zero(tb_w(s, tb), sizeof(*tb));
    v->open = tb;
    *code = (uint8_t *)tb + TB_HEADER;
    *limit = v->region->end;
    return tb;
}

static void note_used(struct tb_store *s, size_t bytes)
{
    uint64_t used = __atomic_add_fetch(&s->used, bytes, __ATOMIC_RELAXED);
    uint64_t high = __atomic_load_n(&s->high_water, __ATOMIC_RELAXED);

    while (used > high && !__atomic_compare_exchange_n(&s->high_water, &high, used, true, __ATOMIC_RELAXED,
                                                       __ATOMIC_RELAXED)) {
    }
}

void tb_alloc_done(struct guest_cpu *c, struct tb *tb, uint8_t *end)
{
    struct tb_store *s = c->vm->store;
    struct tb_vcpu *v = &s->vcpu[c->index];
    struct tb_region *r = v->region;
    uint8_t *from = r->free, *to;

    XBT_ASSERT(tb == v->open && end >= (uint8_t *)tb + TB_HEADER && end <= r->end);
    v->open = NULL;
    if (!tb->code_end) {
        tb_w(s, tb)->code_end = end;
    }
    to = (uint8_t *)(((uintptr_t)end + TB_ALIGN - 1) & ~(uintptr_t)(TB_ALIGN - 1));
    r->free = to <= r->end ? to : r->end;
    r->index[r->n_tbs] = (uint32_t)((uint8_t *)tb - r->start);
    __atomic_store_n(&r->n_tbs, r->n_tbs + 1, __ATOMIC_RELEASE);

    note_used(s, (size_t)(r->free - from));
    __atomic_add_fetch(&s->made, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&s->made_since_flush, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&s->guest_insns, tb->n_insns, __ATOMIC_RELAXED);
    c->stat[ST_TB_MADE]++;
    c->stat[ST_TB_INSNS] += tb->n_insns;
}

uint8_t *tb_place_exits(struct guest_cpu *c, struct tb *tb, unsigned n, uint8_t *code)
{
    struct tb_store *s = c->vm->store;
    struct tb_exit *x = (struct tb_exit *)(((uintptr_t)code + 7) & ~7ul), *w = tb_rw(s, x);

    for (unsigned i = 0; i < n; i++) {
        xbt_zero(&w[i], sizeof(w[i]));
        w[i].lip = TB_NO_TARGET;
        w[i].from = tb;
    }
    tb_w(s, tb)->exit = x;
    tb_w(s, tb)->n_exits = (uint8_t)n;
    return (uint8_t *)(x + n);
}

void tb_alloc_cancel(struct guest_cpu *c, struct tb *tb)
{
    struct tb_vcpu *v = &c->vm->store->vcpu[c->index];

    (void)tb;
    XBT_ASSERT(tb == v->open);
    v->open = NULL;
    v->n_seen = 0;
}

/* All vCPUs are out of generated code and no TB is open. */
void regions_reset_locked(struct tb_store *s)
{
    for (unsigned i = 0; i < s->n_regions; i++) {
        __atomic_store_n(&s->regions[i].n_tbs, 0, __ATOMIC_RELEASE);
        s->regions[i].free = s->regions[i].start;
    }
    for (unsigned i = 0; i < TB_MAX_VCPUS; i++) {
        if (s->vcpu[i].region) {
            s->vcpu[i].region = NULL;
            s->vcpu[i].open = NULL;
            s->vcpu[i].n_seen = 0;
        }
    }
    s->next_region = 0;
    __atomic_store_n(&s->used, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->made_since_flush, 0, __ATOMIC_RELAXED);
}

/* ---- host PC -> TB; async-signal safe ---- */

bool tb_is_code_addr(struct tb_store *s, const void *pc)
{
    return s && (uintptr_t)pc - (uintptr_t)s->base < s->size;
}

struct tb *tb_find_host_pc(struct tb_store *s, const void *pc)
{
    /* code_end may be the start of the next TB or region: look for the byte before, never the first. */
    const uint8_t *at = (const uint8_t *)((uintptr_t)pc - 1);
    const struct tb_region *r;
    uint32_t lo = 0, hi, off;
    struct tb *tb;

    if (!tb_is_code_addr(s, at)) {
        return NULL;
    }
    r = &s->regions[((uintptr_t)at - (uintptr_t)s->base) >> s->region_shift];
    hi = __atomic_load_n(&r->n_tbs, __ATOMIC_ACQUIRE);
    off = (uint32_t)(at - r->start);
    /* The last TB that starts at or below. */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (r->index[mid] <= off) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo == 0) {
        return NULL;
    }
    tb = (struct tb *)(r->start + r->index[lo - 1]);
    if ((const uint8_t *)pc < (uint8_t *)tb + TB_HEADER || (const uint8_t *)pc > tb->code_end) {
        return NULL;
    }
    return tb;
}
