# Carries streams between berth's supervisor, at the other end of a port of the hypervisor's, and sockets of this machine.
# The two speak yamux (https://github.com/hashicorp/yamux, spec.md) after a line of greeting from here, and the supervisor
# opens the streams. A stream's first line says where it leads, `unix PATH` or `tcp PORT ADDRESS`; the answer before all
# else is `+`, or `-` where nobody listens.
use strict;
use warnings;
use Errno;
use Fcntl qw(F_SETFL O_NONBLOCK);
use Socket qw(PF_INET PF_UNIX SHUT_WR SOCK_DGRAM SOCK_STREAM SOL_SOCKET SO_ERROR inet_aton pack_sockaddr_in pack_sockaddr_un);

# Types of frames, and flags.
my ($data, $window, $ping, $go_away) = (0, 1, 2, 3);
my ($syn, $ack, $fin, $reset) = (1, 2, 4, 8);

# What one side may send of a stream before the other one has taken something of it, and what goes at once (bytes).
my ($allowance, $piece) = (256 << 10, 16 << 10);

my ($greeting) = @ARGV;
open(my $host, '+<&=', 0) or die "the port: $!\n";
my ($input, $output, %streams);

# The supervisor may be another one than before: nothing of what was is known to it.
sub greet {
    %streams = ();
    ($input, $output) = ('', '');
    fcntl($host, F_SETFL, 0) or die "the port: $!\n";
    # Returns when somebody is at the other end: the kernel's virtio_console.c has writers wait for that.
    syswrite($host, "$greeting\n") or exit;
    fcntl($host, F_SETFL, O_NONBLOCK) or die "the port: $!\n";
}

# A frame's header: its type, flags, stream and length.
sub frame {
    $output .= pack('C C n N N', 0, @_);
}

sub break_off {
    my ($id) = @_;
    frame($data, $reset, $id, 0);
    delete $streams{$id};
}

sub answer {
    my ($id, $flags, $answer) = @_;
    frame($data, $ack | $flags, $id, 1);
    $output .= $answer;
}

sub refuse {
    my ($id) = @_;
    answer($id, $fin, '-');
    delete $streams{$id};
}

sub dial {
    my ($id, $stream, $place) = @_;
    my ($kind, $where) = split / /, $place, 2;
    my ($family, $address) = (PF_UNIX, undef);
    # Of a longer path Perl takes the beginning.
    if ($kind eq 'unix' && length $where < 108) {
        $address = pack_sockaddr_un($where);
    } elsif ($where =~ /^(\d+) ([\d.]+)$/) {
        ($family, $address) = (PF_INET, pack_sockaddr_in($1, inet_aton($2)));
    }
    $address && socket(my $socket, $family, SOCK_STREAM, 0) or return refuse($id);
    fcntl($socket, F_SETFL, O_NONBLOCK);
    connect($socket, $address) or $!{EINPROGRESS} or return refuse($id);
    ($stream->{socket}, $stream->{dialling}) = ($socket, 1);
}

# Takes apart what has come, as far as it is whole.
sub take_frames {
    while (length $input >= 12) {
        my ($version, $type, $flags, $id, $length) = unpack('C C n N N', $input);
        my $body = $type == $data ? $length : 0;
        # Whoever is there speaks something else: it hears the greeting in the midst of that, and hangs up.
        return greet() if $version != 0 || $body > $allowance;
        return if length $input < 12 + $body;
        substr($input, 0, 12, '');
        my $bytes = substr($input, 0, $body, '');
        if ($type == $ping) {
            frame($ping, $ack, 0, $length) if $flags & $syn;
            next;
        }
        next if $type == $go_away;
        $streams{$id} = { waiting => '', taken => 0, may_send => $allowance } if $flags & $syn;
        delete $streams{$id} if $flags & $reset;
        my $stream = $streams{$id} or next;
        $stream->{may_send} += $length if $type == $window;
        $stream->{waiting} .= $bytes;
        $stream->{last} = 1 if $flags & $fin;
        if (!$stream->{socket} && $stream->{waiting} =~ s/^(.*)\n//) {
            $stream->{taken} = 1 + length $1;
            dial($id, $stream, $1);
        }
    }
}

# The socket takes something: that the connection stands, bytes, or their end.
sub to_socket {
    my ($id, $stream) = @_;
    if (delete $stream->{dialling}) {
        return refuse($id) if unpack('i', getsockopt($stream->{socket}, SOL_SOCKET, SO_ERROR));
        answer($id, 0, '+');
        $stream->{may_send} -= 1;
    }
    if (length $stream->{waiting}) {
        my $written = syswrite($stream->{socket}, $stream->{waiting});
        return $!{EAGAIN} || break_off($id) unless defined $written;
        substr($stream->{waiting}, 0, $written, '');
        $stream->{taken} += $written;
        if ($stream->{taken} >= $allowance / 2) {
            frame($window, 0, $id, $stream->{taken});
            $stream->{taken} = 0;
        }
    }
    if ($stream->{last} && !length $stream->{waiting}) {
        shutdown($stream->{socket}, SHUT_WR);
        ($stream->{last}, $stream->{shut}) = (0, 1);
        delete $streams{$id} if $stream->{ended};
    }
}

sub from_socket {
    my ($id, $stream) = @_;
    my $most = $stream->{may_send} < $piece ? $stream->{may_send} : $piece;
    my $read = sysread($stream->{socket}, my $bytes, $most);
    return $!{EAGAIN} || break_off($id) unless defined $read;
    frame($data, $read ? 0 : $fin, $id, $read);
    $output .= $bytes;
    $stream->{may_send} -= $read;
    return if $read;
    $stream->{ended} = 1;
    delete $streams{$id} if $stream->{shut};
}

# What the kernel says of a descriptor counts only if it was asked for.
sub serve {
    my ($read, $write) = ('', '');
    vec($read, fileno $host, 1) = 1;
    vec($write, fileno $host, 1) = 1 if length $output;
    my $may_read = length $output < $allowance;
    for my $stream (grep { $_->{socket} } values %streams) {
        my $number = fileno $stream->{socket};
        vec($write, $number, 1) = 1 if $stream->{dialling} || $stream->{last} || length $stream->{waiting};
        vec($read, $number, 1) = 1
            if $may_read && !$stream->{dialling} && !$stream->{ended} && $stream->{may_send} > 0;
    }
    return if select($read, $write, undef, undef) < 0;
    for my $id (keys %streams) {
        my $stream = $streams{$id};
        my $number = fileno($stream->{socket} || next);
        to_socket($id, $stream) if vec($write, $number, 1);
        from_socket($id, $stream) if vec($read, $number, 1) && $streams{$id};
    }
    if (vec($write, fileno $host, 1)) {
        my $written = syswrite($host, $output);
        substr($output, 0, $written || 0, '');
    }
    if (vec($read, fileno $host, 1)) {
        my $got = sysread($host, $input, 64 << 10, length $input);
        return greet() if defined $got ? !$got : !$!{EAGAIN};
        take_frames();
    }
}

$SIG{PIPE} = 'IGNORE';
$SIG{TERM} = sub {
    # Nobody could tell otherwise that this end is closed.
    frame($go_away, 0, 0, 0);
    fcntl($host, F_SETFL, O_NONBLOCK);
    syswrite($host, $output);
    exit;
};
# Whoever started it may freeze the guest now, which then goes on from here (sd_notify(3)).
if (my $path = $ENV{NOTIFY_SOCKET}) {
    socket(my $notify, PF_UNIX, SOCK_DGRAM, 0);
    send($notify, 'READY=1', 0, pack_sockaddr_un($path =~ s/^@/\0/r));
}
greet();
serve() while 1;
