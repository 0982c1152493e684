//! Goal: where the kernel lets the daemon change no sets, the log says why.

use crate::common::nft::*;
use std::{io, thread};

#[test]
fn without_the_capability_the_log_names_it() {
    with_firewall(|| {
        load_ssh();
        thread::scope(|scope| {
            scope.spawn(|| {
                drop_net_admin();
                let mut turns = Turns::new();
                turns.must_add(SSH, "192.0.2.7", 20, 1);
                turns.must_add("inet/fw4/other", "192.0.2.8", 20, 2);
                let why = "not permitted; the daemon needs CAP_NET_ADMIN";
                assert_eq!(
                    turns.turn(),
                    [
                        format!("failing inet fw4 ssh4: {why}"),
                        format!("failing inet fw4 other4: {why}"),
                    ]
                );
                while turns.netfilter.next_deadline().is_some() {
                    turns.next_moment();
                }
                assert_eq!(turns.news[2..], ["late 1", "late 2"]);
            });
        });
        assert_eq!(count("inet fw4 ssh4"), 0);
    });
}

#[test]
fn where_there_is_no_netlink_the_log_says_so() {
    for (errno, why) in [
        (
            libc::EPROTONOSUPPORT,
            "no netlink: the kernel has none, or systemd's RestrictAddressFamilies lacks AF_NETLINK",
        ),
        (libc::EMFILE, "Too many open files (os error 24)"),
        (libc::ENFILE, "Too many open files in system (os error 23)"),
    ] {
        let with_errno = move || {
            refuse_sockets(errno);
            let mut turns = Turns::new();
            turns.must_add(SSH, "192.0.2.7", 20, 1);
            turns.must_add(SSH, "192.0.2.8", 20, 2);
            let failing = format!("failing inet fw4 ssh4: {why}");
            assert_eq!(turns.turn(), [failing]);
            while turns.netfilter.next_deadline().is_some() {
                turns.next_moment();
            }
            assert_eq!(turns.news.len(), 3);
        };
        thread::spawn(with_errno).join().unwrap();
    }
}

/// No socket is opened by this thread any more.
fn refuse_sockets(errno: i32) {
    let step = |code: u32, jumps: (u8, u8), value: u32| libc::sock_filter {
        code: code as u16,
        jt: jumps.0,
        jf: jumps.1,
        k: value,
    };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            (0, 1),
            libc::SYS_socket as u32,
        ),
        step(
            libc::BPF_RET | libc::BPF_K,
            (0, 0),
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: no pointers, and then one to a program whose filter has as many steps as it says.
    let done = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ),
        ]
    };
    assert_eq!(done, [0, 0], "{}", io::Error::last_os_error());
}
