/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * translation_rate.c - what it costs to translate a file's code once, from its first block to its last.
 *
 * The bytes are put into the test machine's RAM and translated one block after the other, each beginning where the one
 * before it ended; nothing is executed.  Prints the time and the host bytes per guest instruction, and a checksum of all
 * code and state maps: two builds that make the same code print the same (with `setarch -R`, if addresses matter).
 *
 *     translation_rate FILE OFFSET ROUNDS HFLAGS [64|32|16 [MACHINE]]
 *
 * OFFSET: where the code begins in the file (of .text: readelf -S).  HFLAGS: ORed to those of user code; 0x4000000 is
 * HF_HM, code of hot spaces.  MACHINE: as in tests/insn/machine.h; `tagged` for valgrind, which refuses the flat
 * tables' reservation:
 *
 *     valgrind --tool=callgrind translation_rate /usr/bin/perl 0x49000 1 0x4000000 64 tagged
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/insn/machine.h"
#include "tb-store/tb.h"
#include "tlb/tlb.h"
#include "translator/exec.h"

#define TEXT_AT   0x400000u     /* guest-physical */
#define TEXT_MAX  0x600000u
#define MAX_BLOCKS 20000u       /* of one round: what fits into the code cache */

struct sums {
    uint64_t blocks, host, guest, check;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* FNV-1a. */
static uint64_t add_bytes(uint64_t sum, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sum = (sum ^ p[i]) * 0x100000001b3ull;
    }
    return sum;
}

static void add_block(struct sums *s, const struct tb *tb, bool checksum)
{
    s->blocks++;
    s->host += tb_host_size(tb);
    s->guest += tb->guest_size;
    if (checksum) {
        s->check = add_bytes(s->check, tb_entry(tb), tb->hot_size);
        s->check = add_bytes(s->check, tb_cold(tb), tb->cold_size);
        s->check = add_bytes(s->check, tb_state_map(tb), tb->state_map_size);
        s->check = add_bytes(s->check, &tb->movable, 1);
        s->check = add_bytes(s->check, &tb->needs_flags, 1);
    }
}

/* Bring the machine into a user mode. */
static void enter_mode(struct machine *m, enum snip_mode mode)
{
    static const uint8_t code[] = { 0x90, 0xcc };
    struct snip_state st, done;

    memset(&st, 0, sizeof(st));
    ximg_init(st.ximg);
    st.gpr[R_RSP] = snip_is16(mode) ? 0x2000 : LIN_STACK + 0x2000;
    st.rflags = 0x202;
    st.rip = snip_is16(mode) ? 0x100 : LIN_CODE + 0x100;
    memset(m->win + CODE_OFF, 0xcc, 4096);
    machine_write_code(m, CODE_OFF + 0x100, code, sizeof(code));
    machine_run(m, mode, &st, &done);
    if (done.vector != TRAP_END) {
        fprintf(stderr, "the machine does not run\n");
        exit(1);
    }
}

static void translate_all(struct machine *m, enum snip_mode mode, uint32_t hflags, size_t len, bool checksum, struct sums *s)
{
    static const uint32_t code_of[SM_COUNT] = { [SM_64] = HF_CODE64, [SM_32] = HF_CODE32 | HF_SS32 };
    uint8_t *text = m->ram + TEXT_AT;
    uint64_t base = mode == SM_64 ? 0x7f0000400000ull : TEXT_AT;
    struct guest_cpu *c = m->c;

    cpu_update_hflags(c);
    c->hflags = (c->hflags & ~(HF_CODE_MASK | HF_SS32)) | code_of[mode] | hflags;
    for (size_t at = 0; at + 64 < len && s->blocks < MAX_BLOCKS;) {
        size_t page = at & ~(size_t)0xfff;
        struct code_page pg = { .host = text + page, .ram_addr = RAM_ID + TEXT_AT + page, .gpa = TEXT_AT + page,
                                .cp_id = (uint32_t)(5 + (at >> 12)) };
        struct tb_key key = { .phys_pc = RAM_ID + TEXT_AT + at, .hflags = c->hflags, .cs_limit = 0xffffffff,
                              .lip = base + at };
        if ((at & 0xfff) > 0xff0) {     /* no instruction that crosses: the next page is not mapped */
            at = page + 0x1000;
            continue;
        }
        struct tb *tb = translate(c, &key, key.lip, &pg);
        add_block(s, tb, checksum);
        at += tb->guest_size;
    }
}

int main(int argc, char **argv)
{
    if (argc < 5 || argc > 7) {
        fprintf(stderr, "usage: %s FILE OFFSET ROUNDS HFLAGS [64|32|16 [MACHINE]]\n", argv[0]);
        return 2;
    }
    const struct machine_opts *o = machine_opts_find(argc > 6 ? argv[6] : "default");
    FILE *f = fopen(argv[1], "rb");
    int rounds = atoi(argv[3]), bits = argc > 5 ? atoi(argv[5]) : 64;
    enum snip_mode mode = bits == 64 ? SM_64 : bits == 32 ? SM_32 : SM_16;
    uint32_t hflags = (uint32_t)strtoul(argv[4], NULL, 0);

    if (!o || !f || fseek(f, strtol(argv[2], NULL, 0), SEEK_SET)) {
        fprintf(stderr, "%s: %s\n", o ? argv[1] : argv[6], o ? "cannot be read" : "no such machine");
        return 2;
    }
    struct machine_opts opts = *o;
    opts.opt.tb_size_mib = 64;
    struct machine *m = machine_new(&opts);
    m->vm.opt.verify = false;   /* as in QEMU */
    size_t len = fread(m->ram + TEXT_AT, 1, TEXT_MAX, f);
    fclose(f);
    enter_mode(m, mode);
    for (int r = 0; r < rounds; r++) {
        struct sums s = { .check = 0xcbf29ce484222325ull };
        uint64_t insns = machine_stat(m, ST_TB_INSNS);
        bool last = r == rounds - 1;
        machine_flush(m);
        double t0 = now();
        translate_all(m, mode, hflags, len, rounds > 1 && last, &s);
        double ns = (now() - t0) * 1e9;
        insns = machine_stat(m, ST_TB_INSNS) - insns;
        if (!insns) {
            fprintf(stderr, "%s: no code there\n", argv[1]);
            return 1;
        }
        printf("%llu blocks, %llu instructions; ns for each: %.0f, %.1f; host bytes for a guest byte, instruction: %.2f, %.1f",
               (unsigned long long)s.blocks, (unsigned long long)insns, ns / (double)s.blocks, ns / (double)insns,
               (double)s.host / (double)s.guest, (double)s.host / (double)insns);
        if (rounds > 1 && last) {
            printf("; checksum %016llx", (unsigned long long)s.check);
        }
        printf("\n");
    }
    return 0;
}
