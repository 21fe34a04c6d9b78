#!/bin/bash
# perl under tarn: hashes, strings, sorting, regular expressions, forks.
. "$(dirname "$0")/lib.sh"
need perl

cat >work.pl <<'END'
use strict; use warnings;
my ($x, %h, @list) = (12345);
sub rnd { $x = ($x * 1103515245 + 12345) % 2147483648; return $x % $_[0] }
for (1 .. 200000) { my $k = "key" . rnd(50000); $h{$k} .= chr(97 + rnd(26)); delete $h{"key" . rnd(50000)} if $_ % 3 == 0; }
my $sum = 0;
for my $k (sort keys %h) { $sum = ($sum * 31 + length($h{$k}) + ord($k)) % 1000000007 }
print scalar(keys %h), " $sum\n";
push @list, [rnd(1000), "x" x rnd(300), { n => $_ }] for 1 .. 40000;
@list = sort { $a->[0] <=> $b->[0] || $a->[2]{n} <=> $b->[2]{n} } @list;
print join(",", map { $_->[2]{n} } @list[0 .. 20]), "\n";
my $text = join " ", map { $_->[1] . $_->[0] } @list;
my $count = () = $text =~ /x{3,}(\d+)/g;
(my $less = $text) =~ s/x+/y/g;
print length($text), " $count ", length($less), "\n";
my $big = "ab" x 3000000; $big .= substr($big, 0, 1000000); print length($big), "\n"; undef $big;
for my $n (1 .. 20) {
    my $pid = open(my $child, "-|") // die;
    if (!$pid) { my %own = map { $_ => "v$_" } 1 .. 2000 * $n % 7001; print scalar(keys %own), "\n"; exit 0 }
    print "child $n: ", <$child>; close $child; print "status $?\n" if $?;
}
print "done\n";
END
both work 4000000 perl work.pl

exit $failed
