/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-memory.c - QEMU's memory map -> the engine's physical map.
 *
 * A MemoryListener on the system address space keeps a table of the sections
 * that the CPU may access directly and enters their whole pages into the physmap:
 * RAM; ROM and romd flash (reads direct, writes to the device); everything else is
 * left out, and the engine's slow path dispatches it through QEMU.
 * Parts of pages are left out too.
 *
 * A section that goes away may still be in the vCPUs' TLBs, so its region stays
 * referenced until each vCPU has flushed.  A change made by a vCPU itself (BAR, PAM,
 * flash command) is flushed at once; others come as work for the vCPU.
 *
 * Locks: all under the BQL, except lookups by RAM address, which are also made on
 * vCPU threads without it: `sections` is protected by `lock`.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

#define PAGE 4096ull

struct section {
    MemoryRegion *mr;
    uint64_t gpa, size;      /* whole pages */
    uint64_t offset;         /* in the region */
    uint64_t ram_addr;
    uint8_t *host;
    uint32_t flags;          /* PHYS_RAM or PHYS_ROM */
};

static GArray *sections;
static QemuMutex lock;
static GPtrArray *leaving;   /* regions to unreference after the next flush */
static GArray *stale;        /* sections whose blocks are to be invalidated then */
static bool changed;

static struct section *section_at(unsigned i)
{
    return &g_array_index(sections, struct section, i);
}

static void enter(const struct section *s)
{
    uint32_t flags = s->flags;

    if (flags == PHYS_RAM && xbt_dirty_logged(s->mr)) {
        flags |= PHYS_LOG;
    }
    physmap_set(xbt_vm.phys, s->gpa, s->size, s->host, s->ram_addr, flags);
}

/* The direct part of QEMU's section; false if there is none. */
static bool make_section(const MemoryRegionSection *m, struct section *s)
{
    uint64_t start = m->offset_within_address_space;
    uint64_t end, skip;

    if (memory_region_is_ram_device(m->mr)) {
        return false; /* may need accesses of exact size */
    }
    if (memory_region_is_ram(m->mr)) {
        s->flags = m->readonly || memory_region_is_rom(m->mr) ? PHYS_ROM : PHYS_RAM;
    } else if (memory_region_is_romd(m->mr)) {
        s->flags = PHYS_ROM;
    } else {
        return false;
    }
    s->gpa = ROUND_UP(start, PAGE);
    end = ROUND_DOWN(start + int128_get64(m->size), PAGE);
    if (end <= s->gpa || s->gpa < start) {
        return false;
    }
    skip = s->gpa - start;
    s->mr = m->mr;
    s->size = end - s->gpa;
    s->offset = m->offset_within_region + skip;
    s->ram_addr = memory_region_get_ram_addr(m->mr) + s->offset;
    s->host = (uint8_t *)memory_region_get_ram_ptr(m->mr) + s->offset;
    return !(s->ram_addr & (PAGE - 1)); /* an alias at an odd offset cannot be mapped by pages */
}

static void region_add(MemoryListener *l, MemoryRegionSection *m)
{
    struct section s;

    if (!make_section(m, &s)) {
        return;
    }
    memory_region_ref(s.mr);
    if (s.flags == PHYS_RAM) {
        xbt_ram_share(s.mr);
    }
    qemu_mutex_lock(&lock);
    g_array_append_val(sections, s);
    qemu_mutex_unlock(&lock);
    enter(&s);
    changed = true;
}

/* Blocks made from this range are not to be found again: its memory may be freed, or flash reprogrammed. */
static void note_stale(const struct section *s)
{
    bool last = true;

    for (unsigned i = 0; i < sections->len; i++) {
        last &= section_at(i)->mr != s->mr;
    }
    if (last || s->mr->rom_device) {
        g_array_append_val(stale, *s);
    }
}

/* The region's kind may have changed already (romd off): the table knows what it was. */
static void region_del(MemoryListener *l, MemoryRegionSection *m)
{
    uint64_t gpa = ROUND_UP(m->offset_within_address_space, PAGE);
    struct section s;
    unsigned i;

    for (i = 0; i < sections->len; i++) {
        if (section_at(i)->gpa == gpa && section_at(i)->mr == m->mr) {
            break;
        }
    }
    if (i == sections->len) {
        return;
    }
    s = *section_at(i);
    qemu_mutex_lock(&lock);
    g_array_remove_index_fast(sections, i);
    qemu_mutex_unlock(&lock);
    note_stale(&s);
    g_ptr_array_add(leaving, s.mr);
    physmap_set(xbt_vm.phys, s.gpa, s.size, NULL, ~0ull, 0);
    changed = true;
}

/* ---- flush after a change ---- */

static bool is_mapped(MemoryRegion *mr)
{
    for (unsigned i = 0; i < sections->len; i++) {
        if (section_at(i)->mr == mr) {
            return true;
        }
    }
    return false;
}

/* Has a vCPU still to flush? */
static bool flushes_due(void)
{
    for (struct xbt_cpu *x = xbt_cpu_next(NULL); x; x = xbt_cpu_next(x)) {
        if (x->flush_queued) {
            return true;
        }
    }
    return false;
}

/* BQL, outside memory transactions; every vCPU has flushed: nobody uses the old mappings. */
static void release_leaving(void)
{
    if (flushes_due()) {
        return;
    }
    for (unsigned i = 0; i < leaving->len; i++) {
        MemoryRegion *mr = g_ptr_array_index(leaving, i);

        if (!is_mapped(mr)) {
            xbt_dirty_forget(mr);
            xbt_ram_forget(mr);
        }
        memory_region_unref(mr);
    }
    g_ptr_array_set_size(leaving, 0);
}

/* vCPU, BQL.  Until the last one has flushed, another may still make blocks of memory that has left, and store to pages
 * that are logged by now. */
static void flush_now(struct xbt_cpu *x)
{
    const unsigned chunk = 1u << 30;

    tlb_flush_all(x->c, TLBF_MEMMAP);
    xbt_dirty_closed(x);
    for (unsigned i = 0; i < stale->len; i++) {
        const struct section *s = &g_array_index(stale, struct section, i);

        for (uint64_t at = 0; at < s->size; at += chunk) {
            tb_invalidate_range(x->c, s->ram_addr + at, MIN(s->size - at, chunk), TBD_MEMMAP, NULL);
        }
    }
    if (!flushes_due()) {
        g_array_set_size(stale, 0);
        xbt_dirty_flushed();
    }
}

static void flush_work(CPUState *cs, run_on_cpu_data data)
{
    struct xbt_cpu *x = xbt_cpu_of_cs(cs);

    x->flush_queued = false;
    flush_now(x);
    release_leaving();
}

void xbt_memory_flush(void)
{
    bool any = false;

    struct xbt_cpu *self = NULL;

    for (struct xbt_cpu *x = xbt_cpu_next(NULL); x; x = xbt_cpu_next(x)) {
        if (!x->cs->created) {
            continue; /* a vCPU that never ran has nothing to flush */
        }
        any = true;
        if (current_cpu == x->cs) {
            self = x;
        }
        if ((current_cpu != x->cs || leaving->len) && !x->flush_queued) {
            x->flush_queued = true;
            async_run_on_cpu(x->cs, flush_work, RUN_ON_CPU_NULL);
        }
    }
    if (self) {
        flush_now(self);
    }
    if (!any) {
        g_array_set_size(stale, 0);
        release_leaving();
    }
}

static void commit(MemoryListener *l)
{
    if (changed) {
        changed = false;
        xbt_memory_flush();
    }
}

/* ---- for xbt-dirty.c ---- */

void xbt_memory_remap(MemoryRegion *mr)
{
    for (unsigned i = 0; i < sections->len; i++) {
        if (section_at(i)->mr == mr) {
            enter(section_at(i));
        }
    }
}

void xbt_memory_each(MemoryRegion *mr, void (*fn)(uint64_t ram_addr, uint64_t size, void *opaque),
                     void *opaque)
{
    for (unsigned i = 0; i < sections->len; i++) {
        if (section_at(i)->mr == mr) {
            fn(section_at(i)->ram_addr, section_at(i)->size, opaque);
        }
    }
}

MemoryRegion *xbt_memory_region(uint64_t ram_addr, uint64_t *offset)
{
    MemoryRegion *mr = NULL;

    qemu_mutex_lock(&lock);
    for (unsigned i = 0; i < sections->len; i++) {
        const struct section *s = section_at(i);

        if (ram_addr >= s->ram_addr && ram_addr - s->ram_addr < s->size) {
            mr = s->mr;
            *offset = ram_addr - s->ram_addr + s->offset;
            break;
        }
    }
    qemu_mutex_unlock(&lock);
    return mr;
}

static MemoryListener listener = {
    .name = "xbt",
    .priority = 10,
    .region_add = region_add,
    .region_del = region_del,
    .commit = commit,
    .log_start = xbt_dirty_log_start,
    .log_stop = xbt_dirty_log_stop,
    .log_sync = xbt_dirty_log_sync,
};

void xbt_memory_init(void)
{
    qemu_mutex_init(&lock);
    sections = g_array_new(false, false, sizeof(struct section));
    stale = g_array_new(false, false, sizeof(struct section));
    leaving = g_ptr_array_new();
    xbt_dirty_init();
    xbt_ram_init();
    memory_listener_register(&listener, &address_space_memory);
}
