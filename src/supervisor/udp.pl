# Carries datagrams between berth's supervisor, at standard input and output, and sockets of this machine.
# A frame from there: flow (32 bits), IPv4 address, port (16), length (16), the datagram; a frame back: flow, length, the
# datagram. All numbers are big-endian. The first frame back is of flow 0 and empty.
use strict;
use warnings;
use Socket qw(PF_INET SOCK_DGRAM MSG_DONTWAIT pack_sockaddr_in);

my ($idle, $most) = (IDLE, MOST);
my %flows;
my $input = '';

sub answer {
    my $frame = pack('N n', $_[0], length $_[1]) . $_[1];
    while (length $frame) {
        my $written = syswrite(STDOUT, $frame) or exit;
        substr($frame, 0, $written, '');
    }
}

sub flow {
    my ($id, $address, $port) = @_;
    if (!$flows{$id}) {
        my ($oldest) = sort { $flows{$a}{used} <=> $flows{$b}{used} } keys %flows;
        delete $flows{$oldest} if keys %flows >= $most;
        socket(my $socket, PF_INET, SOCK_DGRAM, 0) or return;
        connect($socket, pack_sockaddr_in($port, $address)) or return;
        $flows{$id} = { socket => $socket };
    }
    $flows{$id}{used} = time;
    return $flows{$id}{socket};
}

answer(0, '');
while (1) {
    my $ready = '';
    vec($ready, fileno $_, 1) = 1 for \*STDIN, map { $_->{socket} } values %flows;
    select($ready, undef, undef, $idle);
    if (vec($ready, fileno STDIN, 1)) {
        sysread(STDIN, $input, 65536, length $input) or exit;
        while (length $input >= 12) {
            my ($id, $address, $port, $length) = unpack('N a4 n n', $input);
            last if length $input < 12 + $length;
            my $socket = flow($id, $address, $port);
            send($socket, substr($input, 12, $length), MSG_DONTWAIT) if $socket;
            substr($input, 0, 12 + $length, '');
        }
    }
    for my $id (keys %flows) {
        my $flow = $flows{$id};
        if (vec($ready, fileno $flow->{socket}, 1) && defined recv($flow->{socket}, my $datagram, 65535, MSG_DONTWAIT)) {
            $flow->{used} = time;
            answer($id, $datagram);
        }
        delete $flows{$id} if time - $flow->{used} > $idle;
    }
}
