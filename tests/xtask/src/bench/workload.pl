# What the bench `uml` runs on the host and in machines alike: prints `name, value, unit`, one a line. Only perl-base and
# coreutils, which every Debian has, and a compiler in the folder that is named second; so the clock is clock_gettime(CLOCK_MONOTONIC) by number.
use strict;
use warnings;
use IO::Handle;

my ($folder, $compiler) = @ARGV;
mkdir $folder;
chdir $folder or die "$folder: $!";

sub now { my $t = pack "qq", 0, 0; syscall 228, 1, $t; my ($s, $n) = unpack "qq", $t; return $s + $n / 1e9 }
sub report { printf "%s\t%.3f\t%s\n", @_ }
# Does the work again and again for at least two seconds; returns rounds a second.
sub rate {
    my ($work) = @_;
    my ($begun, $count) = (now, 0);
    do { $work->(); $count++ } while now() - $begun < 2;
    return $count / (now() - $begun);
}

system "head -c 67108864 /dev/zero >zeros";
report "sha256 of a file", rate(sub { system "sha256sum zeros >/dev/null" }) * 64, "MB/s";
unlink "zeros";
report "hashing and sorting words", rate(sub {
    my %seen;
    $seen{ $_ * 7919 % 10007 } = "w$_" for 1 .. 5000;
    my @sorted = sort { $seen{$a} cmp $seen{$b} } keys %seen;
}), "rounds/s";
open my $source, ">", "source.c" or die $!;
my $lines = 20_000;
print $source "int f$_(int x) { for (int i = 0; i < $_; i++) x += i * x; return x; }\n" for 1 .. $lines;
close $source;
my $compile = "$compiler/usr/bin/tcc -B$compiler/usr/lib/x86_64-linux-gnu/tcc -c source.c -o object";
report "compiling C", rate(sub { system($compile) == 0 or die "$compile: $?" }) * $lines, "lines/s";
unlink "source.c", "object";
report "fork and exec of true", rate(sub { system "/bin/true" for 1 .. 20 }) * 20, "/s";
my $parent;
# By number: perl remembers getppid's answer.
report "system calls", rate(sub { $parent = syscall 110 for 1 .. 1000 }) * 1000, "/s";

open my $file, ">", "file" or die $!;
report "fsync of 4 KiB", rate(sub { syswrite $file, "x" x 4096; $file->sync or die $! }), "/s";
my $megabyte = "\xa5" x (1 << 20);
my $begun = now;
syswrite $file, $megabyte for 1 .. 256;
$file->sync or die $!;
report "sequential write and fsync", 256 / (now() - $begun), "MB/s";
close $file;
unlink "file";
$begun = now;
for (1 .. 10_000) { open my $small, ">", "small$_" or die $!; print $small "x" x 100; close $small }
report "making 10,000 small files", 10_000 / (now() - $begun), "/s";
unlink "small$_" for 1 .. 10_000;
rmdir $folder if chdir "/";
