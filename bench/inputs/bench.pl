# SPDX-License-Identifier: GPL-2.0-or-later
# Perl workload: hashes, regular expressions, sorting, strings.  The argument: how often (1).
use strict;
use warnings;

for my $turn (1 .. $ARGV[0] // 1) {
    my ($x, %count, @lines) = (42);
    for my $i (1 .. 25000) {
        $x = ($x * 1103515245 + 12345) % 2147483648;
        push @lines, sprintf("%08x-%d item%03d", $x, $i % 17, $x % 503);
    }
    for (@lines) {
        $count{$2} += $1 if /-(\d+) item(\d+)$/;
        $count{lc $1}++ if /^([0-9a-f]{2}).*[13579]$/;
    }
    my $n = 0;
    for my $key (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count) {
        print "$key $count{$key}\n";
        last if ++$n == 20;
    }
    my $text = join ' ', @lines;
    (my $other = $text) =~ s/item(\d)(\d)/$2-$1/g;
    $other =~ tr/0-9a-f/f-j0-9k/;
    my $sum = 0;
    $sum = ($sum * 31 + ord) % 1000000007 for split //, substr $other, 0, 60000;
    print length($other), " $sum\n";
    print join(',', (sort { $a <=> $b } map { hex substr $_, 0, 8 } @lines)[0 .. 4]), "\n";
}
