/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * region.c - the memory of the code cache: reservation, regions, allocation of one TB at a time, and
 * the way back from a host PC to its TB.
 *
 * One reservation of opt.tb_size_mib is divided into regions of equal power-of-two size.  A vCPU thread
 * takes a region under the store's lock and then bumps its `free` pointer without one.  It has two, so that
 * code that is executed often is not spread over the memory that all of it needs. Memory is
 * touched only as TBs are made, 256 KiB at a time. With opt.wx a memfd is mapped twice (read-write and read-execute);
 * pages are shared, so both views are coherent.
 *
 * Left to others: what is inside a TB (translator/), finding by guest address (lookup.c), freeing
 * single TBs (nobody does: only a flush gives memory back).
 */
#include "tb-store/store.h"
#include "translator/decode.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
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

void store_populate(void *p, size_t bytes)
{
    uintptr_t from = (uintptr_t)p & ~(uintptr_t)4095;

    madvise((void *)from, (uintptr_t)p + bytes - from, MADV_POPULATE_WRITE);
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
#define TOUCH_BYTES ((size_t)256 << 10)
#define USUAL_BYTES ((size_t)4 << 10)   /* more than most TBs have in one part */

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
        size_t before = -(uintptr_t)p & (HUGE_PAGE - 1);

        s->base = p + before;
        if (before) {
            munmap(p, before);
        }
        if (before < slack) {
            munmap(s->base + s->size, slack - before);
        }
        madvise(s->base, s->size, MADV_NOHUGEPAGE); /* but see region_take() */
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

/* At least sixteen regions for each vCPU where the size allows, so that little is lost when the last region of one kind
 * is full and that of the other kind is not. */
static void choose_regions(struct tb_store *s)
{
    size_t per = s->size / (16 * (s->vm->max_cpus ? s->vm->max_cpus : 1));

    s->region_shift = REGION_MIN_SHIFT;
    while (s->region_shift < REGION_MAX_SHIFT && ((size_t)2 << s->region_shift) <= per) {
        s->region_shift++;
    }
    s->n_regions = (unsigned)((s->size + ((size_t)1 << s->region_shift) - 1) >> s->region_shift);
}

bool regions_init(struct tb_store *s, const char **why)
{
    unsigned mib = s->vm->opt.tb_size_mib;

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
    s->per_region = ((size_t)1 << s->region_shift) / TB_MIN_HOT;
    s->index_bytes = s->n_regions * s->per_region * sizeof(struct tb_index);
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
        r->free = r->touched = r->start;
        r->index = s->index_mem + i * s->per_region;
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

static inline size_t region_room(const struct tb_store *s, const struct tb_region *r)
{
    return !r || r->n_tbs == s->per_region ? 0 : (size_t)(r->end - r->free);
}

/* The next region of a kind; NULL: none is left.  The last one may be too short. */
static struct tb_region *region_take(struct tb_store *s, bool cold, size_t need)
{
    struct tb_region *r = NULL;

    xbt_lock(&s->lock);
    while (region_room(s, r) < need && s->n_hot + s->n_cold < s->n_regions) {
        r = &s->regions[cold ? s->n_regions - ++s->n_cold : s->n_hot++];
        r->cold = cold;
    }
    xbt_unlock(&s->lock);
    if (region_room(s, r) < need) {
        return NULL;
    }
    /* Code spread over megabytes is hard on the host's instruction TLB.  What is not executed gets small pages: new huge
     * ones can cost milliseconds on a host that is itself virtual. */
    if ((!cold || s->vm->opt.no_split) && !s->vm->opt.no_huge_pages && !s->rw_delta) {
        madvise(r->start, (size_t)(r->end - r->start), MADV_HUGEPAGE);
    }
    return r;
}

static bool have_room(struct tb_store *s, struct tb_region **r, bool cold, size_t need)
{
    if (region_room(s, *r) < need) {
        struct tb_region *next = region_take(s, cold, need);

        if (!next) {
            return false;
        }
        *r = next;
    }
    return true;
}

/* `need` bytes are about to be written.  New memory is asked for in larger pieces: a page fault for each page costs as
 * much as the translation of several blocks. */
static inline void region_touch(const struct tb_store *s, struct tb_region *r, size_t need)
{
    size_t room = (size_t)(r->end - r->touched), n = room < TOUCH_BYTES ? room : TOUCH_BYTES;

    if (__builtin_expect(r->touched < r->free + need, 0) && n && !s->rw_delta) {
        store_populate(r->touched, n);
        r->touched += n;
    }
}

static inline uint8_t *round_up(uint8_t *p)
{
    return (uint8_t *)(((uintptr_t)p + TB_ALIGN - 1) & ~(uintptr_t)(TB_ALIGN - 1));
}

struct tb *tb_alloc(struct guest_cpu *c, size_t min, struct tb_room *room)
{
    struct tb_store *s = c->vm->store;
    struct tb_vcpu *v = &s->vcpu[c->index];
    unsigned every = s->vm->opt.flush_every;
    bool split = !s->vm->opt.no_split;
    struct tb *tb;

    XBT_ASSERT(!v->open && min <= TB_MIN_MAX);
    if (every && __atomic_load_n(&s->made_since_flush, __ATOMIC_RELAXED) >= every) {
        return NULL;
    }
    if (!have_room(s, &v->cold, true, TB_HEADER + min + 1) ||
        (split && !have_room(s, &v->hot, false, min + TB_ALIGN + TB_FLAGS_ENTRY))) {
        return NULL;
    }
    region_touch(s, v->cold, USUAL_BYTES);
    if (split) {
        region_touch(s, v->hot, USUAL_BYTES);
    }
    tb = (struct tb *)v->cold->free;
    xbt_zero(tb_w(s, tb), sizeof(*tb));
    v->open = tb;
    *room = (struct tb_room){
        .code = split ? round_up(v->hot->free + TB_CALL_ENTRY) : NULL, .code_limit = split ? v->hot->end - 1 : NULL,
        .code_flags = split ? round_up(v->hot->free + TB_FLAGS_ENTRY) : NULL,
        .cold = (uint8_t *)tb + TB_HEADER, .cold_limit = v->cold->end - 1,
    };
    return tb;
}

/* Adds to a counter that others read; one vCPU alone needs no bus lock.  Returns the sum. */
static inline uint64_t count(const struct tb_store *s, uint64_t *counter, uint64_t n)
{
    if (s->vm->max_cpus > 1) {
        return __atomic_add_fetch(counter, n, __ATOMIC_RELAXED);
    }
    n += __atomic_load_n(counter, __ATOMIC_RELAXED);
    __atomic_store_n(counter, n, __ATOMIC_RELAXED);
    return n;
}

static void note_used(struct tb_store *s, size_t bytes)
{
    uint64_t used = count(s, &s->used, bytes);
    uint64_t high = __atomic_load_n(&s->high_water, __ATOMIC_RELAXED);

    while (used > high && !__atomic_compare_exchange_n(&s->high_water, &high, used, true, __ATOMIC_RELAXED,
                                                       __ATOMIC_RELAXED)) {
    }
}

/* [r->free, end) is tb's. One byte at least is left free: no TB starts where a return address of another is. */
static void region_use(struct tb_store *s, struct tb_region *r, const struct tb *tb, const uint8_t *end)
{
    uint8_t *from = r->free, *to = r->cold ? round_up((uint8_t *)end + 1) : (uint8_t *)end + 1;


    XBT_ASSERT(end >= from && end < r->end);
    r->free = to <= r->end ? to : r->end;
    r->index[r->n_tbs] = (struct tb_index){(uint32_t)(from - r->start), (uint32_t)((uint8_t *)tb - s->base)};
    __atomic_store_n(&r->n_tbs, r->n_tbs + 1, __ATOMIC_RELEASE);
    note_used(s, (size_t)(r->free - from));
}

void tb_alloc_done(struct guest_cpu *c, struct tb *tb, uint8_t *end)
{
    struct tb_store *s = c->vm->store;
    struct tb_vcpu *v = &s->vcpu[c->index];

    XBT_ASSERT(tb == v->open && end >= (uint8_t *)tb + TB_HEADER);
    v->open = NULL;
    region_use(s, v->cold, tb, end);
    if (v->hot && (size_t)(tb_entry(tb) - v->hot->free) < (size_t)(v->hot->end - v->hot->free)) {
        region_use(s, v->hot, tb, tb_entry(tb) + tb->hot_size);
    }
    count(s, &s->made, 1);
    count(s, &s->made_since_flush, 1);
    count(s, &s->guest_insns, tb->n_insns);
    c->stat[ST_TB_MADE]++;
    c->stat[ST_TB_INSNS] += tb->n_insns;
}

uint8_t *tb_place_parts(struct guest_cpu *c, struct tb *tb, unsigned n_exits, unsigned n_holes, unsigned n_kept)
{
    struct tb_store *s = c->vm->store;
    struct tb *w = tb_w(s, tb);
    uintptr_t end;

    w->n_exits = (uint8_t)n_exits;
    w->n_holes = (uint8_t)n_holes;
    w->n_kept = (uint8_t)n_kept;
    end = ((uintptr_t)(tb_holes(tb) + n_holes) + 7) & ~(uintptr_t)7;
    xbt_zero_words(tb_exits(w), end - (uintptr_t)tb_exits(tb));
    if (s->vm->opt.profile) {
        end += sizeof(uint64_t);
        *(uint64_t *)tb_rw(s, (uint64_t *)end - 1) = 0;
    }
    w->insns_at = (uint16_t)(end - (uintptr_t)tb);
    return (uint8_t *)end + n_kept * sizeof(struct dec_insn);
}

bool tb_place_code(struct guest_cpu *c, struct tb *tb, const uint8_t *entry, size_t hot, const uint8_t *cold,
                   size_t n_cold)
{
    struct tb *w = tb_w(c->vm->store, tb);

    w->entry_at = (int32_t)(entry - (uint8_t *)tb);
    w->cold_at = (uint16_t)(cold - (uint8_t *)tb);
    w->hot_size = (uint16_t)hot;
    w->cold_size = (uint16_t)n_cold;
    return w->cold_at == cold - (uint8_t *)tb && hot + n_cold < UINT16_MAX - 1;
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
        if (s->vcpu[i].cold) {
            s->vcpu[i].hot = s->vcpu[i].cold = NULL;
            s->vcpu[i].open = NULL;
            s->vcpu[i].n_seen = 0;
        }
    }
    s->n_hot = s->n_cold = 0;
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
    const struct tb_region *r;
    uint32_t lo = 0, hi, off;
    struct tb *tb;

    if (!tb_is_code_addr(s, pc)) {
        return NULL;
    }
    r = &s->regions[((uintptr_t)pc - (uintptr_t)s->base) >> s->region_shift];
    hi = __atomic_load_n(&r->n_tbs, __ATOMIC_ACQUIRE);
    off = (uint32_t)((const uint8_t *)pc - r->start);
    /* The last TB that starts at or below. */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (r->index[mid].at <= off) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo == 0) {
        return NULL;
    }
    tb = (struct tb *)(s->base + r->index[lo - 1].tb);
    if ((uintptr_t)pc - (uintptr_t)tb_entry(tb) > tb->hot_size &&
        (uintptr_t)pc - (uintptr_t)tb_cold(tb) > tb->cold_size) {
        return NULL;
    }
    return tb;
}
