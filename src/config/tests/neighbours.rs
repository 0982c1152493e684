//! Mirages beside each other, beside the services that they hide, and beside the kernel.

use super::*;
use crate::proto::scheme::schedule::Range;
use core::net::IpAddr;
use std::net::UdpSocket;

#[test]
fn ranges_may_not_overlap_on_an_address_that_both_listen_on() {
    let overlap = "8: range: overlaps 10000-10999 at line 4, and both listen on the same address; \
                   choose another range";
    let web = WEB.replace("11000-11999", "10999-11999");
    assert_eq!(errors(format!("{SSH}{web}")), [overlap]);
    assert!(read(format!("{SSH}{WEB}")).is_ok());
    for (ssh_at, web_at, is_fine) in [
        ("192.0.2.1", "192.0.2.2", true),
        ("192.0.2.1", "2001:db8::1", true),
        ("0.0.0.0", "::", true),
        ("0.0.0.0", "2001:db8::1", true),
        ("192.0.2.1", "192.0.2.1", false),
        ("192.0.2.1", "192.0.2.2 192.0.2.1", false),
        ("192.0.2.1", "::ffff:192.0.2.1", false),
        ("192.0.2.1", "0.0.0.0", false),
        ("::", "2001:db8::1", false),
        ("0.0.0.0 ::", "2001:db8::1", false),
    ] {
        let ssh = SSH.replace(
            "port = 22",
            &format!("port = 22\nlisten-address = {ssh_at}"),
        );
        let text = format!("{ssh}{web}listen-address = {web_at}\n");
        assert_eq!(read(&text).is_ok(), is_fine, "{ssh_at} and {web_at}");
        // Without an address it is every address.
        assert!(read(format!("{ssh}{web}")).is_err(), "{ssh_at}");
    }
}

#[test]
fn addresses_that_a_wildcard_covers_are_not_listened_on_twice() {
    let listen = |list: &str| {
        let config = server(format!("{SSH}listen-address = {list}\n"));
        let texts = config.mirages[0]
            .settings
            .plain
            .listen
            .iter()
            .map(IpAddr::to_string);
        texts.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        listen("192.0.2.1 0.0.0.0 2001:db8::1"),
        "0.0.0.0 2001:db8::1"
    );
    assert_eq!(listen("2001:db8::1, ::, 192.0.2.1"), ":: 192.0.2.1");
    assert_eq!(listen("0.0.0.0 ::"), "0.0.0.0 ::");
}

#[test]
fn a_range_may_not_hold_the_services_own_port_on_this_host() {
    let own = "4: range: contains 10022, the port of the hidden service on this host; \
               choose another range";
    let service = |lines: &str| read(SSH.replace("port = 22", lines)).err();
    assert_eq!(service("port = 10022").unwrap(), [own]);
    for address in [
        "127.0.0.1",
        "127.1.2.3",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
    ] {
        let lines = format!("forward = {address}:10022");
        assert_eq!(service(&lines).unwrap(), [own], "{address}");
    }
    let listens_there = "listen-address = 192.0.2.9\nforward = 192.0.2.9:10022";
    assert_eq!(service(listens_there).unwrap(), [own.replace("4:", "5:")]);
    // 192.0.2.0/24 is for documentation: no host has it.
    assert!(service("forward = 192.0.2.9:10022").is_none());
    assert!(service("port = 9999").is_none());
    assert!(read_client(SSH.replace("port = 22", "port = 10022")).is_ok());
}

/// A listener there would take its place, as would the firewall's rule for a pool.
#[test]
fn no_mirage_may_hold_the_port_of_anothers_service() {
    let web = "[mirage-web]\nsecret = b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai\nrange = 20000-20999\n";
    for (port, lines, wrong) in [
        (
            20_500,
            "",
            "range: contains 20500, the port of [mirage-ssh]'s hidden service on this host; \
             choose another range",
        ),
        (
            19_999,
            "listen = pool\n",
            "pool-port: 19999 is the port of [mirage-ssh]'s hidden service on this host; \
             choose another port",
        ),
    ] {
        let ssh = SSH.replace("port = 22", &format!("port = {port}"));
        let web = format!("{web}port = 80\n{lines}");
        for text in [format!("{ssh}{web}"), format!("{web}{ssh}")] {
            let errors = errors(text);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].ends_with(wrong), "{errors:?}");
        }
        // What runs elsewhere is in nobody's way.
        let ssh = SSH.replace("port = 22", &format!("forward = 192.0.2.9:{port}"));
        assert!(read(format!("{ssh}{web}")).is_ok());
    }
}

#[test]
fn a_pool_has_a_port_of_its_own_outside_all_ranges() {
    let port = |text: &str| server(text).mirages[0].settings.pool_port;
    let pool = format!("{SSH}listen = pool\n");
    assert_eq!(port(&pool), Some(9_999));
    assert_eq!(port(&format!("{pool}pool-port = 9\n")), Some(9));
    assert_eq!(port(&format!("{SSH}listen = ports\n")), None);
    each_is_wrong(&[
        ("listen = all", "listen: all is not one of ports, pool"),
        (
            "pool-port = 9",
            "pool-port: is only for pools; add listen = pool",
        ),
    ]);
    let wrong = |lines: &str| errors(format!("{pool}{lines}\n"));
    assert_eq!(
        wrong("pool-port = 10500"),
        ["6: pool-port: 10500 is in the mirage's own range; choose a port outside it"]
    );
    assert_eq!(
        wrong("pool-port = 22"),
        ["6: pool-port: 22 is the port of the hidden service on this host; choose another port"]
    );
    let lowest = pool
        .replace("10000-10999", "1-999")
        .replace("= 22", "= 2222");
    assert_eq!(
        errors(&lowest),
        ["5: pool-port: missing; there is no port below a range that begins with 1"]
    );
    // WEB's range begins where that of SSH ends, and so its pool's port lies there.
    assert_eq!(
        errors(format!("{SSH}{WEB}listen = pool\n")),
        [
            "9: pool-port: 10999 is in the range at line 4, and both listen on the same address; choose another port"
        ]
    );
    let apart = "listen-address = 192.0.2.1\n";
    let elsewhere = "listen-address = 192.0.2.2\nlisten = pool\n";
    assert!(read(format!("{SSH}{apart}{WEB}{elsewhere}")).is_ok());
    assert_eq!(
        errors(format!("{pool}{WEB}listen = pool\npool-port = 9999\n")),
        ["11: pool-port: 9999 is already used at line 5; choose another port"]
    );
}

#[test]
fn one_token_must_not_do_for_two_mirages() {
    let token = "gate = token\n";
    let other = WEB.replace("[mirage-web]", "[mirage-web]\nname = ssh");
    assert_eq!(
        errors(format!("{SSH}{token}{other}{token}")),
        [
            "6: has the same name and secret as line 1, so a token for one also opens the other; \
          give each its own"
        ]
    );
    assert!(read(format!("{SSH}{token}{other}")).is_ok());
    assert!(read(format!("{SSH}{token}{WEB}{token}")).is_ok());
}

#[test]
fn an_address_of_this_host_is_found_by_asking_the_kernel() {
    // To connect a datagram socket sends nothing, and tells which address of ours it would come from.
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    if let Ok(own) = own {
        let text = SSH.replace("port = 22", &format!("forward = {}:10022", own.ip()));
        assert_eq!(errors(text).len(), 1);
    }
}

#[test]
fn a_range_with_the_kernels_outgoing_ports_is_a_warning_to_the_daemon_alone() {
    let text = SSH.replace("10000-10999", "1024-65535");
    assert!(client(&text).warnings.is_empty());
    if let Some((outgoing, reserved)) = outgoing::of_the_kernel()
        && outgoing::has_unreserved(Range::new(1_024, 65_535).unwrap(), outgoing, &reserved)
    {
        let warnings = server(text).warnings;
        let warning = warnings[0].to_string();
        assert!(
            warning.starts_with("t.conf:4: range: the kernel uses "),
            "{warning}"
        );
        let command = "sysctl -w net.ipv4.ip_local_reserved_ports=";
        assert!(warning.contains(command), "{warning}");
        assert!(warning.contains("1024-65535"), "{warning}");
    }
}
