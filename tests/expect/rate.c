#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/insn/machine.h"
#include "translator/exec.h"
#include "tlb/tlb.h"
#include "tb-store/tb.h"
static double now(void){struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); return t.tv_sec+t.tv_nsec*1e-9;}
int main(int argc, char **argv)
{
    const struct machine_opts opts = { "rate", { .tb_size_mib = 64, .tlb_force = (getenv("TAG") ? TLB_TAGGED : TLB_FLAT) } };
    struct machine *m = machine_new(&opts);
    struct guest_cpu *c = m->c;
    struct snip_state st, done;
    static const uint8_t code[] = { 0x90, 0xcc };
    memset(&st, 0, sizeof(st)); ximg_init(st.ximg);
    st.gpr[R_RSP] = LIN_STACK + 0x2000; st.rflags = 0x202; st.rip = LIN_CODE + 0x100;
    memset(m->win + CODE_OFF, 0xcc, 4096);
    machine_write_code(m, CODE_OFF + 0x100, code, 2);
    machine_run(m, SM_64, &st, &done);
    uint32_t hflags = (uint32_t)strtoul(argc > 4 ? argv[4] : "0", 0, 0);
    FILE *f = fopen(argv[1], "rb");
    long off = strtol(argv[2], 0, 0), len = 0x800000;
    uint8_t *text = m->ram + 0x400000;
    fseek(f, off, SEEK_SET); len = (long)fread(text, 1, 0x600000, f);
    int rounds = atoi(argv[3]);
    cpu_update_hflags(c);
    for (int r = 0; r < rounds; r++) {
        machine_flush(m);
        uint64_t i0 = machine_stat(m, ST_TB_INSNS); unsigned blocks = 0; uint64_t host = 0, guest = 0;
        double t0 = now();
        for (long o = 0; o + 64 < len && blocks < 20000;) {
            struct code_page pg = { .host = text + (o & ~0xfffl), .ram_addr = RAM_ID + 0x400000 + (o & ~0xfffl), .gpa = 0x400000 + (o & ~0xfff), .cp_id = 5 + (o>>12) };
            uint64_t lip = 0x7f0000400000ull + o;
            struct tb_key k = { .phys_pc = RAM_ID + 0x400000 + o, .hflags = hflags | c->hflags, .cs_limit = 0xffffffff, .lip = lip };
            if ((o & 0xfff) > 0xff0) { o = (o | 0xfff) + 1; continue; }
            struct tb *tb = translate(c, &k, lip, &pg);
            o += tb->guest_size; blocks++; host += tb->host_size; guest += tb->guest_size;
        }
        double t1 = now(); uint64_t n = machine_stat(m, ST_TB_INSNS) - i0;
        printf("hflags %x blocks %u insns %lu host/guest %.2f ns/insn %.1f ns/block %.1f host/insn %.1f\n", c->hflags, blocks, n, (double)host/guest, (t1-t0)*1e9/n, (t1-t0)*1e9/blocks, (double)host/n);
    }
    extern unsigned long cls_count[8]; printf("all %lu none %lu reader %lu overwritten-after-sites %lu exit-direct %lu exit-indirect-or-other %lu\n", cls_count[0],cls_count[1],cls_count[2],cls_count[3],cls_count[4],cls_count[5]);
    return 0;
}
