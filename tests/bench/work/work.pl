# Hashes, strings, sorting, nested structures and regular expressions. usage: work.pl N
use strict;
use warnings;
my ($n, %word, @nested) = (shift);
$word{"key$_"} = 'v' x ($_ % 40) for 1 .. $n;
my $sum = 0;
$sum += length $word{$_} for sort keys %word;
delete $word{"key$_"} for grep { $_ % 3 == 0 } 1 .. $n;
push @nested, { id => $_, tags => [map { "tag$_" } 1 .. $_ % 6], name => "name " . $_ * 7919 % $n } for 1 .. $n / 4;
@nested = sort { $a->{name} cmp $b->{name} || $a->{id} <=> $b->{id} } @nested;
my $text = join ';', map { join ',', $_->{name}, @{ $_->{tags} } } @nested;
my %count;
$count{$1}++ while $text =~ /(tag\d)/g;
print "$sum ", scalar(keys %word), ' ', length $text, ' ', join(' ', map { "$_=$count{$_}" } sort keys %count), "\n";
