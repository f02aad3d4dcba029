/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dma32.c - devices write over code that has been executed: IDE by PIO and by bus master, AHCI, virtio-blk, NVMe,
 * fw_cfg.
 *
 * Sector k of each disk is a function that returns k (run_dma.py makes it).  Every device reads sectors 1, 2, 3... over
 * the same page; after each the function is called directly, from a block linked to it, and indirectly.  Completion is
 * seen in RAM where the device reports it there: no register is read between the device's write and the call.
 * The last two rounds of a device overwrite a page while a loop in it is being executed: one that waits for the
 * completion and calls the new code, and one that only the new bytes end.
 */
#define SYS_MAIN
#include "../system/sys.h"

#define CODE   0x300000u    /* the function; the waiting loop is in the same page */
#define WAITER 0x300800u
#define FOREVER 0x300a00u
#define CALLER 0x310000u    /* call CODE; ret */
#define RINGS  0x320000u    /* zeroed memory of the devices */

static inline void outw(u16 port, u16 v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline void outl(u16 port, u32 v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
static inline u16 inw(u16 port)
{
    u16 v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u32 inl(u16 port)
{
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline volatile u32 *at32(u32 a) { return (volatile u32 *)a; }
static inline volatile u16 *at16(u32 a) { return (volatile u16 *)a; }
static inline volatile u8 *at8(u32 a) { return (volatile u8 *)a; }

void *memset(void *d, int v, u32 n);
void *memset(void *d, int v, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        ((u8 *)d)[i] = (u8)v;
    }
    return d;
}

void trap(struct frame *f)
{
    put("trap");
    line("", f->vector);
    line("ip", f->ip);
    sys_exit(1);
}

/* ---- PCI ---- */

static u32 pci_read(u32 fn, u32 reg)
{
    outl(0xcf8, 0x80000000u | fn << 8 | reg);
    return inl(0xcfc);
}

static void pci_write(u32 fn, u32 reg, u32 v)
{
    outl(0xcf8, 0x80000000u | fn << 8 | reg);
    outl(0xcfc, v);
}

/* The function with this vendor and device; its BAR gets an address, its decoders and bus mastering are switched on. */
static u32 pci_find(u32 id, u32 bar, u32 address)
{
    for (u32 fn = 0; fn < 256; fn++) {
        if (pci_read(fn, 0) == id) {
            pci_write(fn, 0x10 + 4 * bar, address);
            pci_write(fn, 4, (pci_read(fn, 4) & 0xffff) | 7);
            return fn;
        }
    }
    put("no device");
    line("", id);
    sys_exit(1);
    return 0;
}

/* ---- the devices: start a read of n sectors from lba to address; how completion shows ---- */

static u32 wait_addr, wait_mask, wait_value;  /* complete: (*wait_addr & mask) == value */

static void wait_for(u32 address, u32 mask, u32 value)
{
    wait_addr = address;
    wait_mask = mask;
    wait_value = value;
}

static void ide_command(u32 lba, u32 n, u8 command)
{
    while (inb(0x1f7) & 0x80) {
    }
    outb(0x1f6, 0xe0);
    outb(0x1f2, (u8)n);
    outb(0x1f3, (u8)lba);
    outb(0x1f4, (u8)(lba >> 8));
    outb(0x1f5, (u8)(lba >> 16));
    outb(0x1f7, command);
}

static void ide_pio(u32 lba, u32 n, u32 to)
{
    ide_command(lba, n, 0x20);
    for (; n; n--, to += 512) {
        u32 di = to, cx = 256;
        while ((inb(0x1f7) & 0x88) != 8) {
        }
        __asm__ volatile("rep insw" : "+D"(di), "+c"(cx) : "d"(0x1f0) : "memory");
    }
    wait_for(0, 0, 0);
}

#define BMIDE 0xc000
static void ide_dma(u32 lba, u32 n, u32 to)
{
    *at32(RINGS) = to;
    *at32(RINGS + 4) = 0x80000000u | n * 512;
    outb(BMIDE, 0);
    outb(BMIDE + 2, 6);
    outl(BMIDE + 4, RINGS);
    ide_command(lba, n, 0xc8);
    outb(BMIDE, 9);
    wait_for(~0u, 4, 4); /* not in RAM: the status port */
}

#define AHCI 0xfe000000u
static void ahci_init(void)
{
    pci_find(0x29228086, 5, AHCI);
    *at32(AHCI + 4) = 0x80000000u;
    *at32(AHCI + 0x118) = 0;
    *at32(AHCI + 0x100) = RINGS + 0x1000;       /* command list */
    *at32(AHCI + 0x104) = 0;
    *at32(AHCI + 0x108) = RINGS + 0x2000;       /* received FISes */
    *at32(AHCI + 0x10c) = 0;
    *at32(AHCI + 0x118) = 0x10 | 6;
    *at32(AHCI + 0x118) = 0x11 | 6;
}

static void ahci_read(u32 lba, u32 n, u32 to)
{
    u32 list = RINGS + 0x1000, table = RINGS + 0x3000;

    *at32(list) = 5 | 1 << 16;                  /* FIS of 5 dwords, one PRD */
    *at32(list + 4) = 0;
    *at32(list + 8) = table;
    *at32(list + 12) = 0;
    *at32(table) = 0x258027;              /* H2D, command: READ DMA EXT */
    *at32(table + 4) = lba | 0x40000000;
    *at32(table + 8) = 0;
    *at32(table + 12) = n;
    *at32(table + 16) = 0;
    *at32(table + 0x80) = to;
    *at32(table + 0x84) = 0;
    *at32(table + 0x88) = 0;
    *at32(table + 0x8c) = n * 512 - 1;
    *at32(RINGS + 0x2040) = 0;
    wait_for(RINGS + 0x2040, 0xff, 0x34);       /* the D2H register FIS, in RAM */
    *at32(AHCI + 0x110) = ~0u;
    *at32(AHCI + 0x138) = 1;
}

#define VIRTIO 0xc100
#define VQ (RINGS + 0x10000)
static u32 vq_size, vq_used;
static u16 vq_idx;
static void virtio_init(void)
{
    pci_find(0x10011af4, 0, VIRTIO | 1);
    outb(VIRTIO + 18, 0);
    outb(VIRTIO + 18, 3);
    outl(VIRTIO + 4, 0);
    outw(VIRTIO + 14, 0);
    vq_size = inw(VIRTIO + 12);
    vq_used = (VQ + 16 * vq_size + 2 * vq_size + 6 + 4095) & ~4095u;
    outl(VIRTIO + 8, VQ >> 12);
    outb(VIRTIO + 18, 7);
}

static void virtio_desc(u32 i, u32 a, u32 len, u32 flags)
{
    *at32(VQ + 16 * i) = a;
    *at32(VQ + 16 * i + 4) = 0;
    *at32(VQ + 16 * i + 8) = len;
    *at32(VQ + 16 * i + 12) = flags | (i + 1) << 16;
}

static void virtio_read(u32 lba, u32 n, u32 to)
{
    u32 avail = VQ + 16 * vq_size, head = RINGS + 0x8000;

    *at32(head) = 0;
    *at32(head + 4) = 0;
    *at32(head + 8) = lba;
    *at32(head + 12) = 0;
    virtio_desc(0, head, 16, 1);
    virtio_desc(1, to, n * 512, 3);
    virtio_desc(2, head + 16, 1, 2);
    *at16(avail + 4 + 2 * (vq_idx % vq_size)) = 0;
    vq_idx++;
    __asm__ volatile("" : : : "memory");
    *at16(avail) = 1;                           /* no interrupts */
    *at16(avail + 2) = vq_idx;
    wait_for(vq_used, 0xffff0000u, (u32)vq_idx << 16);
    outw(VIRTIO + 16, 0);
}

#define NVME 0xfe010000u
#define ASQ (RINGS + 0x20000)
#define ACQ (RINGS + 0x21000)
#define SQ  (RINGS + 0x22000)
#define CQ  (RINGS + 0x23000)
static u32 nvme_admin_tail, nvme_tail;
static void nvme_put(u32 queue, u32 tail, u32 op, u32 nsid, u32 prp, u32 d10, u32 d11, u32 d12)
{
    volatile u32 *c = at32(queue + 64 * tail);

    for (u32 i = 0; i < 16; i++) {
        c[i] = 0;
    }
    c[0] = op | tail << 16;
    c[1] = nsid;
    c[6] = prp;
    c[10] = d10;
    c[11] = d11;
    c[12] = d12;
}

static void nvme_admin(u32 op, u32 prp, u32 d10, u32 d11)
{
    nvme_put(ASQ, nvme_admin_tail, op, 0, prp, d10, d11, 0);
    nvme_admin_tail++;
    *at32(NVME + 0x1000) = nvme_admin_tail;
    while (!(*at32(ACQ + 16 * (nvme_admin_tail - 1) + 12) & 0x10000)) {
    }
}

static void nvme_init(void)
{
    u32 fn = pci_find(0x00101b36, 0, NVME);

    pci_write(fn, 0x14, 0);
    *at32(NVME + 0x14) = 0;
    *at32(NVME + 0x24) = 15 << 16 | 15;
    *at32(NVME + 0x28) = ASQ;
    *at32(NVME + 0x2c) = 0;
    *at32(NVME + 0x30) = ACQ;
    *at32(NVME + 0x34) = 0;
    *at32(NVME + 0x14) = 4 << 20 | 6 << 16 | 1;
    while (!(*at32(NVME + 0x1c) & 1)) {
    }
    nvme_admin(5, CQ, 63 << 16 | 1, 1);
    nvme_admin(1, SQ, 63 << 16 | 1, 1 << 16 | 1);
}

static void nvme_read(u32 lba, u32 n, u32 to)
{
    nvme_put(SQ, nvme_tail, 2, 1, to, lba, 0, n - 1);
    wait_for(CQ + 16 * nvme_tail + 12, 0x10000, 0x10000);
    nvme_tail++;
    *at32(NVME + 0x1008) = nvme_tail;
}

/* ---- fw_cfg: all is done when the write to the port returns ---- */

static u32 swap(u32 v)
{
    return v >> 24 | (v >> 8 & 0xff00) | (v << 8 & 0xff0000) | v << 24;
}

static u32 fw_key;
static void fw_dma(u32 control, u32 len, u32 to)
{
    u32 d = RINGS + 0x9000;

    *at32(d) = swap(control);
    *at32(d + 4) = swap(len);
    *at32(d + 8) = 0;
    *at32(d + 12) = swap(to);
    outl(0x514, 0);
    outl(0x518, swap(d));
}

static void fw_init(void)
{
    static struct { u32 size; u16 select, pad; char name[56]; } files[64];
    u32 count;

    fw_dma(0x19 << 16 | 8 | 2, 4, (u32)&count);
    fw_dma(2, sizeof(files), (u32)files);
    count = swap(*(volatile u32 *)&count);
    for (u32 i = 0; i < count && i < 64; i++) {
        if (files[i].name[0] == 'o' && files[i].name[4] == 'd' && files[i].name[5] == 'm') {
            fw_key = (u32)(files[i].select >> 8 | (files[i].select & 0xff) << 8);
        }
    }
}

static void fw_read(u32 lba, u32 n, u32 to)
{
    fw_dma(fw_key << 16 | 8 | 4, lba * 512, 0);     /* select and skip */
    fw_dma(2, n * 512, to);
    wait_for(0, 0, 0);
}

/* ---- the test ---- */

static void wait_done(void)
{
    if (wait_addr == ~0u) {
        while ((inb(BMIDE + 2) & wait_mask) != wait_value) {
        }
        outb(BMIDE, 0);
        return;
    }
    const volatile u32 *a = at32(wait_addr);
    while (wait_addr && (*a & wait_mask) != wait_value) {
    }
}

/* mov eax, v; ret */
static void put_function(u32 a, u32 v)
{
    *at8(a) = 0xb8;
    for (u32 i = 0; i < 4; i++) {
        *at8(a + 1 + i) = (u8)(v >> 8 * i);
    }
    *at8(a + 5) = 0xc3;
}

static u32 call(u32 a)
{
    u32 r;

    __asm__ volatile("call *%1" : "=a"(r) : "r"(a) : "ecx", "edx", "memory");
    return r;
}

static u32 call_direct(void)
{
    return call(CALLER);
}

/* In the page that is written: wait as wait_done() does, then call CODE directly. */
static const u8 waiter[] = {
    0x89, 0xc8, 0x23, 0x03, 0x39, 0xd0, 0x75, 0xf8, /* 1: mov eax, ecx; and eax, [ebx]; cmp eax, edx; jne 1b */
    0xe8, 0xf3, 0xf7, 0xff, 0xff, 0xc3,             /* call CODE; ret */
};

static u32 call_waiter(void)
{
    u32 r;

    if (wait_addr == ~0u || !wait_addr) {
        wait_done();
        return call(CODE);
    }
    __asm__ volatile("call *%1" : "=a"(r) : "r"(WAITER), "b"(wait_addr), "c"(wait_mask), "d"(wait_value) : "memory");
    return r;
}

static void check(const char *name, const char *what, u32 got, u32 want)
{
    if (got != want) {
        put(name);
        put(" ");
        put(what);
        line(" returned", got);
        line("    expected", want);
    }
}

static void device(const char *name, void (*read)(u32 lba, u32 n, u32 to))
{
    u32 k;

    for (u32 i = 0; i < sizeof(waiter); i++) {
        *at8(WAITER + i) = waiter[i];
    }
    *at8(CALLER) = 0xe8;
    *at32(CALLER + 1) = CODE - CALLER - 5;
    *at8(CALLER + 5) = 0xc3;
    put_function(CODE, 0);
    for (k = 1; k < 12; k++) {
        for (u32 i = 0; i < 3; i++) {
            check(name, "before, direct", call_direct(), k - 1);
            check(name, "before, indirect", call(CODE), k - 1);
        }
        read(k, 1, CODE);
        wait_done();
        check(name, "direct", k & 1 ? call_direct() : call(CODE), k);
        check(name, "indirect", k & 1 ? call(CODE) : call_direct(), k);
    }
    for (; k < 16; k++) {
        read(k, 1, CODE);
        check(name, "in the same page", call_waiter(), k);
    }
    /* Sector 32 on are NOPs and a function at the end of the sector.  The processor may see the device's bytes one after
     * the other: until the last have come there is another endless loop behind the NOPs. */
    for (u32 i = 0; i < 2; i++) {
        for (u32 at = 0; at < 512; at += 2) {
            *at16(FOREVER + at) = 0xfeeb;       /* 1: jmp 1b */
        }
        if (wait_addr == 0) {
            break;  /* done before the loop starts */
        }
        read(32 + i, 1, FOREVER);
        check(name, "the loop itself", call(FOREVER), 32 + i);
        wait_done();
    }
    put(name);
    put(" done\n");
}

__attribute__((used)) void test_main(void)
{
    memset((void *)RINGS, 0, 0x40000);
    device("ide-pio", ide_pio);
    pci_find(0x70108086, 4, BMIDE | 1);
    device("ide-dma", ide_dma);
    ahci_init();
    device("ahci", ahci_read);
    virtio_init();
    device("virtio-blk", virtio_read);
    nvme_init();
    device("nvme", nvme_read);
    fw_init();
    device("fw_cfg", fw_read);
}
