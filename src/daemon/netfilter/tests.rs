use super::*;

#[test]
fn pauses_grow_and_have_an_end() {
    let mut netfilter = Netfilter::<u32>::default();
    let set: NftSet = "inet/fw4/ssh".parse().unwrap();
    let set = set.of("192.0.2.7".parse().unwrap());
    let mut fail = |count, why| {
        netfilter.set_has_failed(&set, count, why, Instant(5_000));
        let failing = &netfilter.failing[0];
        (failing.most, failing.again.0 - 5_000)
    };
    // Fewer may fit, and are tried at once.
    assert_eq!(fail(9, SetRefusal::Full), (4, 0));
    assert_eq!(fail(4, SetRefusal::Errno(libc::EMSGSIZE)), (2, 0));
    assert_eq!(fail(2, SetRefusal::Full), (1, 0));
    let pauses: Vec<_> = (0..8).map(|_| fail(1, SetRefusal::Full)).collect();
    let seconds = [1, 2, 4, 8, 16, 32, 60, 60];
    assert_eq!(pauses, seconds.map(|seconds| (1, seconds * 1_000)));
    assert_eq!(fail(9, SetRefusal::NoSet), (1, NFT_LONGEST_PAUSE_MS));
    assert_eq!(netfilter.failing.len(), 1);
    let told = core::iter::from_fn(|| netfilter.next_news());
    assert_eq!(told.count(), 1);
}

#[test]
fn a_refusal_reads_as_the_end_of_a_line() {
    for (why, expected) in [
        (
            SetRefusal::Type(6),
            "the set is for something else; it needs `type ipv6_addr`",
        ),
        (SetRefusal::Changing, "others keep changing the firewall"),
        (SetRefusal::Unanswered, "the kernel does not answer"),
    ] {
        assert_eq!(why.to_string(), expected);
    }
    // Each libc has words of its own.
    let busy = std::io::Error::from_raw_os_error(libc::EBUSY).to_string();
    assert_eq!(SetRefusal::Errno(libc::EBUSY).to_string(), busy);
}
