use super::*;
use std::net::TcpStream;
use std::os::fd::AsFd;

/// Nothing is set at each connection, so whatever the daemon accepts has to have it already.
#[test]
fn what_is_accepted_has_the_time_outs_of_its_listener() {
    let listener = listen(ListenAddress::One([127, 0, 0, 1].into()), 0, 1, None).unwrap();
    let at = SockRef::from(&listener).local_addr().unwrap();
    let client = TcpStream::connect(at.as_socket().unwrap()).unwrap();
    let accepted = loop {
        match accept(listener.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            accepted => break accepted.unwrap().0,
        }
    };
    let dialled = stream(at.as_socket().unwrap()).unwrap();
    for socket in [&accepted, &dialled] {
        let socket = SockRef::from(socket);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        let seconds = |duration: Duration| duration.as_secs();
        assert_eq!(socket.tcp_keepalive_time().map(seconds).unwrap(), 300);
        assert_eq!(socket.tcp_keepalive_interval().map(seconds).unwrap(), 60);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
        let timeout = socket.tcp_user_timeout().unwrap();
        assert_eq!(timeout.map(seconds), Some(600));
    }
    assert_eq!(unanswered_ms(accepted.as_fd()), 0);
    drop(client);
}

fn info(set: impl FnOnce(&mut libc::tcp_info)) -> u64 {
    // SAFETY: all zeros is a valid value.
    let mut info: libc::tcp_info = unsafe { core::mem::zeroed() };
    info.tcpi_rto = 204_000;
    info.tcpi_last_ack_recv = 4_000_000;
    set(&mut info);
    unanswered(&info)
}

#[test]
fn how_long_a_peer_has_not_answered() {
    // Idle for an hour, and with bytes that have just been sent.
    assert_eq!(info(|_| {}), 0);
    assert_eq!(info(|it| it.tcpi_unacked = 3), 0);
    // Sent again after 0.2, 0.6, 1.4 and 3 s, and the last of these was a second ago.
    let again = |it: &mut libc::tcp_info| {
        (it.tcpi_unacked, it.tcpi_retransmits, it.tcpi_backoff) = (1, 4, 4);
        it.tcpi_rto = 204_000 << 4;
        it.tcpi_last_data_sent = 1_000;
    };
    assert_eq!(info(again), 204 * 15 + 1_000);
    let heard = |it: &mut libc::tcp_info| {
        again(it);
        it.tcpi_last_ack_recv = 50;
    };
    assert_eq!(info(heard), 50);
    // The first question after five minutes, whose answer is on its way; and the third.
    let probes = |count, ms| {
        info(|it: &mut libc::tcp_info| {
            (it.tcpi_probes, it.tcpi_last_ack_recv) = (count, ms);
        })
    };
    assert_eq!(probes(1, 300_010), 10);
    assert_eq!(probes(3, 425_000), 125_000);
    // A window that stays closed: the peer answers each probe, or none.
    assert_eq!(probes(0, 100_000), 0);
    assert_eq!(probes(1, 100_000), 0);
    assert_eq!(probes(5, 40_000), 20_000);
}
