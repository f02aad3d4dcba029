/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-dirty.c - who wrote to which page: for displays, migration and the code cache.
 *
 * The vCPU's stores, for QEMU's dirty bitmaps.  Pages of a logged region have
 * PHYS_LOG: the first store comes to xbt_dirty_mark(), which sets the bits and
 * enters the page in `open`: from now on stores go unseen.  Before QEMU reads the bits
 * (log_sync) all open pages are marked again and the vCPU is asked to close them: it
 * takes them out of its write tables and marks them a last time, for the stores
 * between the two.  So a written page is reported at least once after its last
 * store, and a page that is not written any more costs nothing.
 * Logging that starts while the vCPU runs: after it has flushed its TLB everything in the
 * region counts as written.
 *
 * Devices' stores, for the code cache (watch).  Nobody tells an accelerator that
 * a device wrote to RAM, but every such path sets the DIRTY_MEMORY_VGA bit of regions
 * that log for a display.  So regions with code are made to log, and the bit
 * of a page with code is cleared when it is translated and looked at again when the
 * engine asks; xbt-dmatrap.c has the vCPUs ask in time.  Regions that really belong to a display are left alone.
 *
 * Locks: `open` and the region sets by `lock` (vCPU threads come without the BQL);
 * logging is switched under the BQL.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"
#include "exec/ramblock.h"

#define PAGE 4096ull
#define VGA_BIT (1u << DIRTY_MEMORY_VGA)
#define MIGRATION_BIT (1u << DIRTY_MEMORY_MIGRATION)

static QemuMutex lock;
static GHashTable *open_pages[XBT_MAX_CPUS];   /* page numbers that a vCPU stores to unseen; NULL: none yet */
static GHashTable *watched;      /* regions that log for us */
static GHashTable *others;       /* regions with code that log for a display */
static GPtrArray *mark_later;    /* regions to mark whole after the flush */

/* ---- QEMU's bitmaps ---- */

/* The word and bit of a page.  The words stay where they are when RAM is added; the table of blocks does
 * not. */
static unsigned long *dirty_word(unsigned client, uint64_t ram_addr)
{
    uint64_t page = ram_addr / PAGE;
    unsigned long *alias = client == DIRTY_MEMORY_VGA ? xbt_dmatrap_word(page) : NULL;
    DirtyMemoryBlocks *b;

    if (alias) {
        return alias;
    }
    RCU_READ_LOCK_GUARD();
    b = qatomic_rcu_read(&ram_list.dirty_memory[client]);
    return &b->blocks[page / DIRTY_MEMORY_BLOCK_SIZE][BIT_WORD(page % DIRTY_MEMORY_BLOCK_SIZE)];
}

static unsigned long dirty_bit(uint64_t ram_addr)
{
    return BIT_MASK(ram_addr / PAGE);
}

static void set_bits(uint64_t ram_addr, uint64_t size, unsigned clients)
{
    uint64_t end = ram_addr + size;

    for (uint64_t at = ram_addr & ~(PAGE - 1); at < end; at += PAGE) {
        if (clients & VGA_BIT) {
            qatomic_or(dirty_word(DIRTY_MEMORY_VGA, at), dirty_bit(at));
        }
        if (clients & MIGRATION_BIT) {
            qatomic_or(dirty_word(DIRTY_MEMORY_MIGRATION, at), dirty_bit(at));
        }
    }
}

/* ---- logging of the vCPU's stores ---- */

static bool in_set(GHashTable *set, MemoryRegion *mr)
{
    bool r;

    qemu_mutex_lock(&lock);
    r = g_hash_table_contains(set, mr);
    qemu_mutex_unlock(&lock);
    return r;
}

/* Clients that want to know of stores by the vCPU. */
static unsigned clients_of(MemoryRegion *mr, unsigned mask)
{
    mask &= VGA_BIT | MIGRATION_BIT;
    return in_set(watched, mr) ? mask & ~VGA_BIT : mask;
}

bool xbt_dirty_logged(MemoryRegion *mr)
{
    return clients_of(mr, memory_region_get_dirty_log_mask(mr));
}

/* RCU.  The region of RAM, also where it has just left the memory map: a vCPU may still store there until it flushes. */
static MemoryRegion *region_of(uint64_t ram_addr)
{
    RAMBlock *b;

    QLIST_FOREACH_RCU(b, &ram_list.blocks, next) {
        if (ram_addr - b->offset < b->max_length) {
            return b->mr;
        }
    }
    return NULL;
}

static void mark(uint64_t ram_addr, unsigned size)
{
    MemoryRegion *mr;

    RCU_READ_LOCK_GUARD();
    mr = region_of(ram_addr);
    if (mr) {
        set_bits(ram_addr, size, clients_of(mr, memory_region_get_dirty_log_mask(mr)));
    }
}

void xbt_dirty_mark(struct guest_cpu *c, uint64_t ram_addr, unsigned size)
{
    qemu_mutex_lock(&lock);
    if (!open_pages[c->index]) {
        open_pages[c->index] = g_hash_table_new(NULL, NULL);
    }
    g_hash_table_add(open_pages[c->index], GSIZE_TO_POINTER(ram_addr / PAGE));
    qemu_mutex_unlock(&lock);
    mark(ram_addr, size);
}

/* Of one vCPU. */
static void copy_open_locked(GArray *pages, unsigned index)
{
    GHashTableIter it;
    gpointer key;

    if (!open_pages[index]) {
        return;
    }
    g_hash_table_iter_init(&it, open_pages[index]);
    while (g_hash_table_iter_next(&it, &key, NULL)) {
        uint64_t addr = GPOINTER_TO_SIZE(key) * PAGE;

        g_array_append_val(pages, addr);
    }
}

static GArray *copy_open_of_all(void)
{
    GArray *pages = g_array_new(false, false, sizeof(uint64_t));

    qemu_mutex_lock(&lock);
    for (unsigned i = 0; i < XBT_MAX_CPUS; i++) {
        copy_open_locked(pages, i);
    }
    qemu_mutex_unlock(&lock);
    return pages;
}

static GArray *take_open(unsigned index)
{
    GArray *pages = g_array_new(false, false, sizeof(uint64_t));

    qemu_mutex_lock(&lock);
    copy_open_locked(pages, index);
    if (open_pages[index]) {
        g_hash_table_remove_all(open_pages[index]);
    }
    qemu_mutex_unlock(&lock);
    return pages;
}

/* vCPU, BQL. */
static void close_work(CPUState *cs, run_on_cpu_data data)
{
    struct xbt_cpu *x = xbt_cpu_of_cs(cs);
    GArray *pages = take_open(x->c->index);

    x->close_queued = false;
    for (unsigned i = 0; i < pages->len; i++) {
        uint64_t page = g_array_index(pages, uint64_t, i);

        tlb_unwrite_page(x->c, page);
        mark(page, PAGE);
    }
    g_array_free(pages, true);
}

/* vCPU, BQL: it has dropped all its translations, so its pages are closed. */
void xbt_dirty_closed(struct xbt_cpu *x)
{
    GArray *pages = take_open(x->c->index);

    for (unsigned i = 0; i < pages->len; i++) {
        mark(g_array_index(pages, uint64_t, i), PAGE);
    }
    g_array_free(pages, true);
}

static void request_close(void)
{
    for (struct xbt_cpu *x = xbt_cpu_next(NULL); x; x = xbt_cpu_next(x)) {
        if (!x->close_queued) {
            x->close_queued = true;
            async_run_on_cpu(x->cs, close_work, RUN_ON_CPU_NULL);
        }
    }
}

void xbt_dirty_log_sync(MemoryListener *l, MemoryRegionSection *s)
{
    uint64_t lo = memory_region_get_ram_addr(s->mr) + s->offset_within_region;
    uint64_t hi = lo + int128_get64(s->size);
    GArray *pages;
    bool any = false;

    if (!memory_region_is_ram(s->mr)) {
        return;
    }
    pages = copy_open_of_all();
    for (unsigned i = 0; i < pages->len; i++) {
        uint64_t page = g_array_index(pages, uint64_t, i);

        if (page >= lo && page < hi) {
            mark(page, PAGE);
            any = true;
        }
    }
    g_array_free(pages, true);
    if (any) {
        request_close();
    }
}

void xbt_dirty_log_start(MemoryListener *l, MemoryRegionSection *s, int old, int new)
{
    if (!clients_of(s->mr, new & ~old)) {
        return;
    }
    xbt_memory_remap(s->mr);
    if (!g_ptr_array_find(mark_later, s->mr, NULL)) {
        memory_region_ref(s->mr);
        g_ptr_array_add(mark_later, s->mr);
    }
    xbt_memory_flush();
}

/* Entries without logging appear as pages are touched: no flush. */
void xbt_dirty_log_stop(MemoryListener *l, MemoryRegionSection *s, int old, int new)
{
    if (clients_of(s->mr, old & ~new)) {
        xbt_memory_remap(s->mr);
    }
}

static void mark_part(uint64_t ram_addr, uint64_t size, void *clients)
{
    set_bits(ram_addr, size, *(unsigned *)clients);
}

void xbt_dirty_flushed(void)
{
    for (unsigned i = 0; i < mark_later->len; i++) {
        MemoryRegion *mr = g_ptr_array_index(mark_later, i);
        unsigned clients = clients_of(mr, memory_region_get_dirty_log_mask(mr));

        xbt_memory_each(mr, mark_part, &clients);
        memory_region_unref(mr);
    }
    g_ptr_array_set_size(mark_later, 0);
}

/* ---- devices' stores into pages with code ---- */

/* Make the region log for us, unless it does for a display.  False: cannot be watched. */
static bool start_watching(MemoryRegion *mr)
{
    bool ours, taken;

    if (in_set(watched, mr)) {
        return true;
    }
    if (in_set(others, mr) || mr->readonly || mr->rom_device) {
        return false;
    }
    taken = xbt_bql_auto_lock();
    ours = !(memory_region_get_dirty_log_mask(mr) & VGA_BIT);
    qemu_mutex_lock(&lock);
    g_hash_table_add(ours ? watched : others, mr);
    qemu_mutex_unlock(&lock);
    if (ours) {
        memory_region_set_log(mr, true, DIRTY_MEMORY_VGA);
        xbt_dmatrap_prepare(memory_region_get_ram_addr(mr), memory_region_size(mr));
    }
    xbt_bql_auto_unlock(taken);
    return ours;
}

/* BQL, outside memory transactions.  The region left the memory map. */
void xbt_dirty_forget(MemoryRegion *mr)
{
    bool ours;

    qemu_mutex_lock(&lock);
    ours = g_hash_table_remove(watched, mr);
    g_hash_table_remove(others, mr);
    qemu_mutex_unlock(&lock);
    if (ours) {
        memory_region_set_log(mr, false, DIRTY_MEMORY_VGA);
    }
}

void xbt_dma_watch(struct guest_cpu *c, uint64_t ram_addr, bool on)
{
    uint64_t offset;
    MemoryRegion *mr;

    if (!on) {
        xbt_dmatrap_watch(ram_addr, false);
        return;
    }
    mr = xbt_memory_region(ram_addr, &offset);
    if (mr && start_watching(mr)) {
        xbt_dmatrap_watch(ram_addr, true);
        qatomic_and(dirty_word(DIRTY_MEMORY_VGA, ram_addr), ~dirty_bit(ram_addr));
        smp_mb(); /* the page's bytes are read after this */
    }
}

static bool is_watched(uint64_t ram_addr)
{
    uint64_t offset;
    MemoryRegion *mr = xbt_memory_region(ram_addr, &offset);

    return mr && in_set(watched, mr);
}

bool xbt_dma_hit(struct guest_cpu *c, uint64_t ram_addr)
{
    unsigned long bit = dirty_bit(ram_addr);

    return is_watched(ram_addr) && (qatomic_fetch_and(dirty_word(DIRTY_MEMORY_VGA, ram_addr), ~bit) & bit);
}

const uint64_t *xbt_dma_word(struct guest_cpu *c, uint64_t ram_addr)
{
    static const uint64_t never;

    QEMU_BUILD_BUG_ON(sizeof(unsigned long) != sizeof(uint64_t));
    if (!is_watched(ram_addr)) {
        return &never;
    }
    return (const uint64_t *)dirty_word(DIRTY_MEMORY_VGA, ram_addr);
}

void xbt_dirty_init(void)
{
    qemu_mutex_init(&lock);
    watched = g_hash_table_new(NULL, NULL);
    others = g_hash_table_new(NULL, NULL);
    mark_later = g_ptr_array_new();
}
