/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_help_string.c - string instructions: random ones against the host CPU (registers, flags, memory),
 * then what user mode cannot show: 16-bit addressing, segment limits, faults in the middle, MMIO, pages
 * with code, interruption.
 */
#include "test_help_env.h"

/* ---- the host as oracle ---- */

static uint8_t *code_buf;
struct regs {
    uint64_t rax, rcx, rsi, rdi, flags;
};

static void native(const uint8_t *bytes, unsigned n, struct regs *r)
{
    memcpy(code_buf, bytes, n);
    code_buf[n] = 0xc3;
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\t"
        "mov 0(%%rbx), %%rax\n\tmov 8(%%rbx), %%rcx\n\tmov 16(%%rbx), %%rsi\n\tmov 24(%%rbx), %%rdi\n\t"
        "push 32(%%rbx)\n\tpopf\n\t"
        "call *%1\n\t"
        "pushf\n\tpop 32(%%rbx)\n\tcld\n\t"
        "mov %%rax, 0(%%rbx)\n\tmov %%rcx, 8(%%rbx)\n\tmov %%rsi, 16(%%rbx)\n\tmov %%rdi, 24(%%rbx)\n\t"
        "lea 128(%%rsp), %%rsp"
        : : "b"(r), "r"((void *)code_buf)
        : "rax", "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
}

static void put_regs(const struct regs *r)
{
    GPR(c, R_RAX) = r->rax;
    GPR(c, R_RCX) = r->rcx;
    GPR(c, R_RSI) = r->rsi;
    GPR(c, R_RDI) = r->rdi;
    cpu_set_eflags(c, (uint32_t)r->flags, FL_STATUS | FL_DF);
}

static void fill(bool sparse)
{
    for (unsigned i = 0; i < DATA_SIZE; i += 8)
        *(uint64_t *)(host_data + i) = sparse ? (rnd() % 97 ? 0 : 1ull << (rnd() & 63)) : rnd();
    memcpy(guest_data, host_data, DATA_SIZE);
}

/* Run to the end, again after each interruption. */
static int run_all(const uint8_t *bytes, unsigned n, unsigned *loops)
{
    struct dec_insn in;
    int r;

    c->rip = 0x1000;
    decode_bytes(bytes, n, &in);
    *loops = 0;
    while ((r = do_insn(&in)) == HELP_LOOP && c->rip == in.ip)
        ++*loops;
    if (r == HELP_LOOP)
        CHECK_EQ(c->rip, in.ip + in.len);
    return r;
}

static void one_random(void)
{
    static const uint8_t ops[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };
    uint8_t b[8], op = (uint8_t)(ops[rnd() % 5] | (rnd() & 1));
    unsigned n = 0, loops, opt = (unsigned)rnd();
    bool ad32 = !(opt & 0x30);
    uint64_t span = opt & 0x700 ? 64 : 40000;
    struct regs h, g;
    static char text[80];

    if (opt & 1)
        b[n++] = (opt & 2) ? 0xf3 : 0xf2;
    if (ad32)
        b[n++] = 0x67;
    if (opt & 4)
        b[n++] = (opt & 8) ? 0x66 : 0x48;
    b[n++] = op;
    memset(&h, 0, sizeof(h));
    h.rax = opt & 0x1000 ? rnd() : 0;
    h.rcx = opt & 1 ? rnd() % (span / 8 ? span / 8 : 1) : rnd();
    h.rsi = DATA + 0x14000 + rnd() % 0x8000;
    h.rdi = opt & 0x800 ? h.rsi + rnd() % 32 - 16 : DATA + 0x14000 + rnd() % 0x8000;
    h.flags = 2 | (rnd() & FL_STATUS) | (opt & 0x80 ? FL_DF : 0);
    if (ad32) {
        h.rsi |= rnd() << 32;
        h.rdi |= rnd() << 32;
        if (h.rcx)
            h.rcx |= (opt & 1) ? rnd() << 32 : 0;
    }
    snprintf(text, sizeof(text), "%02x %02x %02x %02x rcx %llx rsi %llx rdi %llx df %d",
             b[0], b[1], b[2], b[3],
             (unsigned long long)h.rcx, (unsigned long long)h.rsi, (unsigned long long)h.rdi, !!(opt & 0x80));
    env_what = text;
    g = h;
    put_regs(&g);
    int r = run_all(b, n, &loops);
    CHECK(r == HELP_NEXT || r == HELP_LOOP);
    native(b, n, &h);
    CHECK_EQ(GPR(c, R_RAX), h.rax);
    CHECK_EQ(GPR(c, R_RCX), h.rcx);
    CHECK_EQ(GPR(c, R_RSI), h.rsi);
    CHECK_EQ(GPR(c, R_RDI), h.rdi);
    CHECK_EQ(fl_to_eflags(c->fl), h.flags & FL_STATUS);
    CHECK_EQ(c->eflags & FL_DF, h.flags & FL_DF);
}

static void random_against_host(void)
{
    env_mode(2, 0);
    for (unsigned round = 0; round < 60; round++) {
        fill(round & 1);
        /* Some rounds with pages that hold code: stores go the slow way, and the helper leaves its block. */
        memset(env_code, 0, sizeof(env_code));
        if (round % 3 == 2)
            for (unsigned i = 0; i < DATA_SIZE >> 12; i++)
                env_code[(DATA >> 12) + i] = rnd() & 1;
        tlb_flush_all(c, TLBF_OTHER);
        for (unsigned i = 0; i < 120; i++)
            one_random();
        CHECK(!memcmp(guest_data, host_data, DATA_SIZE));
    }
    memset(env_code, 0, sizeof(env_code));
    tlb_flush_all(c, TLBF_OTHER);
    env_what = "";
}

/* ---- interruption ---- */

static void long_copy_is_interruptible(void)
{
    unsigned loops;

    env_mode(2, 0);
    fill(false);
    put_regs(&(struct regs){ 0, 0x20000, DATA, DATA + 0x20000, 0 });
    CHECK_EQ(run_all((const uint8_t[]){ 0xf3, 0xa4 }, 2, &loops), HELP_NEXT);
    CHECK_EQ(loops, 1); /* 128 KiB: once after 64 KiB */
    CHECK(!memcmp(guest_data, guest_data + 0x20000, 0x20000));

    put_regs(&(struct regs){ 0, 0x3000, DATA, DATA + 0x20000, 0 });
    c->exit_request = XREQ_POLL;
    CHECK_EQ(INSN(0xf3, 0xa4), HELP_LOOP);
    CHECK(GPR(c, R_RCX) != 0 && GPR(c, R_RCX) < 0x3000);
    CHECK_EQ(GPR(c, R_RSI) - DATA, 0x3000 - GPR(c, R_RCX));
    c->exit_request = 0;
}

static void single_step_does_one(void)
{
    env_mode(2, 0);
    c->eflags |= FL_TF;
    cpu_update_hflags(c);
    put_regs(&(struct regs){ 0x55, 3, 0, DATA, 0 });
    CHECK_EQ(INSN(0xf3, 0xaa), HELP_LOOP);
    CHECK_EQ(GPR(c, R_RCX), 2);
    CHECK_EQ(c->rip, 0xfff0);
    CHECK_EQ(INSN(0xf3, 0xaa), HELP_LOOP);
    CHECK_EQ(INSN(0xf3, 0xaa), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RDI), DATA + 3);
}

/* ---- faults ---- */

/* Long mode page tables below 64 KiB of RAM mapping [DATA, +2M) by 4 KiB pages. */
static uint64_t *map_data(void)
{
    uint64_t *t = (uint64_t *)(ram + 0x1000);

    memset(t, 0, 5 * 4096);
    t[0] = 0x2000 | 7;
    t[512] = 0x3000 | 7;
    t[1024 + (DATA >> 21)] = 0x4000 | 7;
    for (unsigned i = 0; i < 512; i++)
        t[1536 + i] = (DATA + i * 4096) | 0x67;
    c->cr[0] |= CR0_PG | CR0_WP;
    c->cr[3] = 0x1000;
    tlb_cr3_written(c, false);
    tlb_flush_all(c, TLBF_OTHER);
    cpu_update_hflags(c);
    return t + 1536;
}

static void fault_in_the_middle(void)
{
    uint64_t *pte;

    env_mode(2, 0);
    fill(false);
    pte = map_data();
    pte[3] = 0;                      /* source ends at 0x3000 */
    pte[35] = DATA + 35 * 4096 + 1;  /* read only */
    tlb_flush_all(c, TLBF_OTHER);
    put_regs(&(struct regs){ 0, 0x1000, DATA + 0x2ff0, DATA + 0x20004, 0 });
    CHECK_EQ(INSN(0xf3, 0x48, 0xa5), RAISES(EXC_PF));
    CHECK_EQ(c->cr[2], DATA + 0x3000);
    CHECK_EQ(c->exc_error, 0);
    CHECK_EQ(GPR(c, R_RCX), 0x1000 - 2);
    CHECK_EQ(GPR(c, R_RSI), DATA + 0x3000);
    CHECK_EQ(GPR(c, R_RDI), DATA + 0x20014);
    CHECK(!memcmp(guest_data + 0x20004, guest_data + 0x2ff0, 16));

    /* A store element that straddles into the read-only page: nothing of it is written. */
    put_regs(&(struct regs){ 0x7777777777777777, 0x1000, 0, DATA + 0x22ff4, 0 });
    memset(guest_data + 0x22ff0, 0, 32);
    CHECK_EQ(INSN(0xf3, 0x48, 0xab), RAISES(EXC_PF));
    CHECK_EQ(c->cr[2], DATA + 0x23000);
    CHECK_EQ(c->exc_error, 3);
    CHECK_EQ(GPR(c, R_RCX), 0x1000 - 1);
    CHECK_EQ(GPR(c, R_RDI), DATA + 0x22ffc);
    CHECK_EQ(guest_data[0x22ffb], 0x77);
    CHECK_EQ(guest_data[0x22ffc], 0);

    /* Downwards, into the hole. */
    put_regs(&(struct regs){ 0, 100, DATA + 0x4004, DATA + 0x8000, FL_DF });
    CHECK_EQ(INSN(0xf3, 0xa4), RAISES(EXC_PF));
    CHECK_EQ(c->cr[2], DATA + 0x3fff);
    CHECK_EQ(GPR(c, R_RCX), 95);

    /* A comparison that faults leaves the flags of the last iteration that was done. */
    memset(guest_data + 0x2f00, 0, 0x100);
    put_regs(&(struct regs){ 0, 0x200, 0, DATA + 0x2f00, FL_CF | FL_OF });
    CHECK_EQ(INSN(0xf3, 0xae), RAISES(EXC_PF));
    CHECK_EQ(GPR(c, R_RCX), 0x100);
    CHECK_EQ(fl_to_eflags(c->fl), FL_ZF | FL_PF);

    /* Non-canonical. */
    put_regs(&(struct regs){ 0, 1, 0x800000000000, DATA, 0 });
    CHECK_EQ(INSN(0xf3, 0xa4), RAISES(EXC_GP));
    CHECK_EQ(GPR(c, R_RCX), 1);
}

/* ---- 16- and 32-bit addressing, segments ---- */

static void offsets_wrap_at_64k(void)
{
    env_real();
    c->seg[S_DS].base = c->seg[S_ES].base = 0x20000;
    cpu_update_hflags(c);
    memset(ram + 0x20000, 0, 0x20000);
    /* REP STOSB over the wrap of DI: goes on at 0. */
    put_regs(&(struct regs){ 0xaa, 0xabcd0000 | 32, 0, 0x1234fff0, 0 });
    CHECK_EQ(INSN(0xf3, 0xaa), HELP_NEXT);
    CHECK_EQ(ram[0x2ffff], 0xaa);
    CHECK_EQ(ram[0x2000f], 0xaa);
    CHECK_EQ(ram[0x20010], 0);
    CHECK_EQ(ram[0x30000], 0);
    CHECK_EQ(GPR(c, R_RDI), 0x12340010);
    CHECK_EQ(GPR(c, R_RCX), 0xabcd0000);
    /* Downwards, words. */
    put_regs(&(struct regs){ 0xbbcc, 3, 0, 2, FL_DF });
    CHECK_EQ(INSN(0xf3, 0xab), HELP_NEXT);
    CHECK_EQ(ram[0x2fffe], 0xcc);
    CHECK_EQ(ram[0x2ffff], 0xbb);
    CHECK_EQ(GPR(c, R_RDI), 0xfffc);
    /* A word at FFFF does not wrap: #GP, or #SS for SS. */
    put_regs(&(struct regs){ 0, 2, 0, 0xfffd, 0 });
    CHECK_EQ(INSN(0xf3, 0xab), RAISES(EXC_GP));
    CHECK_EQ(GPR(c, R_RCX), 1);
    put_regs(&(struct regs){ 0, 1, 0xffff, 0, 0 });
    CHECK_EQ(INSN(0x36, 0xad), RAISES(EXC_SS));
}

static void limits_stop_the_run(void)
{
    env_mode(1, 0);
    c->seg[S_ES].base = DATA;
    c->seg[S_ES].limit = 0x100f;
    cpu_seg_update(c, S_ES);
    c->seg[S_FS].base = DATA + 0x8000;
    cpu_seg_update(c, S_FS);
    cpu_update_hflags(c);
    CHECK(c->hflags & HF_SEGS);
    memset(guest_data, 0, 0x2000);
    put_regs(&(struct regs){ 0x01020304, 0x1000, 0, 2, 0 });
    CHECK_EQ(INSN(0xf3, 0xab), RAISES(EXC_GP));
    CHECK_EQ(GPR(c, R_RDI), 0x100e);
    CHECK_EQ(GPR(c, R_RCX), 0x1000 - 0x403);
    CHECK_EQ(guest_data[0x100d], 1);
    CHECK_EQ(guest_data[0x100e], 0);
    /* FS source. */
    memcpy(guest_data + 0x8000, "hello", 5);
    put_regs(&(struct regs){ 0, 5, 0, 0, 0 });
    CHECK_EQ(INSN(0xf3, 0x64, 0xa4), HELP_NEXT);
    CHECK(!memcmp(guest_data, "hello", 5));
    /* Expand down: below the limit is outside. */
    c->seg[S_ES].attr |= DESC_E;
    cpu_seg_update(c, S_ES);
    put_regs(&(struct regs){ 0x99, 0x20, 0, 0x1018, FL_DF });
    CHECK_EQ(INSN(0xf3, 0xaa), RAISES(EXC_GP));
    CHECK_EQ(GPR(c, R_RDI), 0x100f);
    CHECK_EQ(guest_data[0x1010], 0x99);
}

static void device_memory(void)
{
    env_mode(2, 0);
    for (unsigned i = 0; i < 256; i++)
        mmio[i] = (uint8_t)i;
    put_regs(&(struct regs){ 0, 64, MMIO_GPA, DATA, 0 });
    CHECK_EQ(INSN(0xf3, 0xa5), HELP_NEXT);
    CHECK(!memcmp(guest_data, mmio, 256));
    put_regs(&(struct regs){ 0x5a5a, 0x80, 0, MMIO_GPA + 0x100, 0 });
    CHECK_EQ(INSN(0xf3, 0x66, 0xab), HELP_NEXT);
    CHECK_EQ(mmio[0x1ff], 0x5a);
    CHECK_EQ(mmio[0x200], 0);
}

static void store_to_code_leaves_the_block(void)
{
    env_mode(2, 0);
    env_code[DATA >> 12] = 1;
    tlb_flush_all(c, TLBF_OTHER);
    put_regs(&(struct regs){ 0x90, 1, 0, DATA, 0 });
    CHECK_EQ(INSN(0xaa), HELP_LOOP);
    CHECK_EQ(c->rip, 0xfff1);
    env_code[DATA >> 12] = 0;
    tlb_flush_all(c, TLBF_OTHER);
}

int main(void)
{
    env_start();
    code_buf = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code_buf != MAP_FAILED);
    random_against_host();
    long_copy_is_interruptible();
    single_step_does_one();
    fault_in_the_middle();
    offsets_wrap_at_64k();
    limits_stop_the_run();
    device_memory();
    store_to_code_leaves_the_block();
    puts("string helpers: ok");
    return 0;
}
