# Gives a running engine another id. dockerd reads its id once, when it starts, and starting it anew is most of what an
# emulated guest would have to do to become another one. So the id is replaced where dockerd keeps it, in its memory, as
# a debugger would: the places are looked for before the guest is frozen, tried out by asking the engine, and written
# down; a clone has only to write there. Where that did not work nothing is written down, and the engine is restarted.
use strict;
use warnings;
no warnings "portable";

my $file = "/var/lib/docker/engine-id";
my $places = "/run/berth/engine-id-places";

sub content {
    my ($path) = @_;
    open(my $in, "<", $path) or die "$path: $!\n";
    local $/;
    return <$in>;
}

sub put {
    my ($path, $text) = @_;
    umask 077;
    open(my $out, ">", $path) or die "$path: $!\n";
    print $out $text;
    close($out) or die "$path: $!\n";
}

# Every place in the process's own writable memory that has the word.
sub find {
    my ($pid, $word) = @_;
    my @found;
    open(my $memory, "<:raw", "/proc/$pid/mem") or die "memory: $!\n";
    for my $line (split /\n/, content("/proc/$pid/maps")) {
        my ($from, $to) = $line =~ /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0/ or next;
        ($from, $to) = (hex $from, hex $to);
        # What was only reserved has nothing to read; a block's end is read again with the next block.
        for (my $at = $from; $at < $to; $at += 1 << 20) {
            sysseek($memory, $at, 0);
            my $count = $to - $at < (1 << 20) + 64 ? $to - $at : (1 << 20) + 64;
            sysread($memory, my $block, $count) or next;
            my $offset = -1;
            while (($offset = index($block, $word, $offset + 1)) >= 0) {
                push @found, $at + $offset if $offset < 1 << 20;
            }
        }
    }
    return @found;
}

# Writes the new word where the old one still is; the process holds still meanwhile.
sub replace {
    my ($pid, $old, $new, @at) = @_;
    my $count = 0;
    open(my $memory, "+<:raw", "/proc/$pid/mem") or die "memory: $!\n";
    kill "STOP", $pid;
    for my $at (@at) {
        sysseek($memory, $at, 0);
        sysread($memory, my $there, length $old) or next;
        next unless $there eq $old;
        sysseek($memory, $at, 0);
        $count++ if syswrite($memory, $new);
    }
    kill "CONT", $pid;
    return $count;
}

sub says {
    my ($id) = @_;
    # Not for clones, which would spend more time on reading it than on all else here.
    require IO::Socket::UNIX;
    my $engine = IO::Socket::UNIX->new(Peer => "/run/docker.sock") or return 0;
    print $engine "GET /info HTTP/1.0\r\nHost: engine\r\n\r\n";
    local $/;
    return index(<$engine>, "\"ID\":\"$id\"") >= 0;
}

# Before the guest is frozen: $trial is an id like the one that the engine has.
sub learn {
    my ($pid, $trial) = @_;
    my $id = content($file);
    return unless length $id == 36 and length $trial == 36;
    eval {
        my @at = find($pid, $id);
        put($places, "$pid $trial @at") if replace($pid, $id, $trial, @at) and says($trial);
        1;
    } or warn "the engine's id is not replaced: $@";
}

# In a clone: true if the engine has the id now.
sub become {
    my ($id) = @_;
    return 0 unless -e $places;
    my ($pid, $old, @at) = split " ", content($places);
    return 0 unless replace($pid, $old, $id, @at);
    put($file, $id);
    return 1;
}

1;
