//! Goal: what the kernel's sets have is what was asked for, or the log says why not; and no set keeps another from
//! its elements.
//!
//! The kernel is this machine's, in a network of the test's own, and nft shows what is in its sets. The clock is
//! the test's.

use crate::common::nft::*;
use crate::common::*;
use shimmer::daemon::netfilter::Refused;
use shimmer::limits::{NFT_LOOK_MS, NFT_NAME, NFT_QUEUED, NFT_SETS};
use shimmer::proto::Instant;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn an_address_is_added_with_its_time_and_renewed() {
    with_firewall(|| {
        load(&(sets("inet", "fw4", "ssh") + &sets("ip", "filter", "x-1")));
        load(&sets("ip6", "filter", "x.2"));
        let mut turns = Turns::new();
        turns.must_add(SSH, "192.0.2.7", 30, 1);
        turns.must_add(SSH, "2001:db8::7", 3_600, 2);
        turns.must_add("ip/filter/x-1", "192.0.2.8", 1, 3);
        turns.must_add("ip6/filter/x.2", "2001:db8::8", u32::MAX, 4);
        assert_eq!(turns.turn(), ["done 1", "done 2", "done 3", "done 4"]);
        assert!(list("inet fw4 ssh4").contains("{ 192.0.2.7 timeout 30s expires "));
        assert!(list("inet fw4 ssh6").contains("{ 2001:db8::7 timeout 1h expires "));
        let ends = || !list("ip filter x-14").contains("192.0.2.8");
        wait_for("the end of an element's time", || ends().then_some(()));
        assert!(list("ip6 filter x.26").contains("{ 2001:db8::8 timeout 49710d6h28m15s expires "));
        assert!(turns.netfilter.next_deadline().is_some());
        turns.turn();

        // Longer and shorter, on every kernel, and nothing else happens to others.
        for (seconds, expected) in [(7_200, "2h"), (20, "20s")] {
            turns.must_add(SSH, "192.0.2.7", seconds, 5);
            turns.must_add(SSH, "192.0.2.9", 60, 6);
            assert_eq!(turns.turn(), ["done 5", "done 6"]);
            let listed = list("inet fw4 ssh4");
            assert!(listed.contains(&format!("192.0.2.7 timeout {expected} expires ")));
            assert_eq!(count("inet fw4 ssh4"), 2, "{listed}");
        }
        assert_eq!(count("inet fw4 ssh6"), 1);
    });
}

#[test]
fn an_address_is_taken_out_and_the_last_wish_counts() {
    with_firewall(|| {
        load_ssh();
        let mut turns = Turns::new();
        turns.must_add(SSH, "192.0.2.6", 30, 0);
        assert_eq!(turns.turn(), ["done 0"]);
        turns.must_add(SSH, "192.0.2.6", 0, 1);
        turns.must_add(SSH, "192.0.2.7", 0, 2);
        turns.must_add(SSH, "192.0.2.8", 30, 3);
        turns.must_add(SSH, "192.0.2.8", 0, 4);
        turns.must_add(SSH, "192.0.2.9", 0, 5);
        turns.must_add(SSH, "192.0.2.9", 30, 6);
        turns.must_add(SSH, "2001:db8::7", 0, 7);
        let news = turns.turn();
        assert_eq!(news[..2], ["replaced 3", "replaced 5"]);
        assert_eq!(
            news[2..],
            ["done 1", "done 2", "done 4", "done 6", "done 7"]
        );
        assert!(list("inet fw4 ssh4").contains("elements = { 192.0.2.9 timeout 30s expires "));
        assert_eq!(count("inet fw4 ssh4") + count("inet fw4 ssh6"), 1);
        assert!(turns.netfilter.next_deadline().is_some());
        turns.turn();
        assert!(turns.netfilter.next_deadline().is_none());
    });
}

#[test]
fn the_last_wish_counts_after_a_failure_too() {
    with_firewall(|| {
        let mut turns = Turns::new();
        turns.must_add(SSH, "192.0.2.7", 30, 1);
        turns.turn();
        turns.must_add(SSH, "192.0.2.7", 0, 2);
        // Nobody is in a set that is not there.
        assert_eq!(turns.pass(1), ["replaced 1", "done 2"]);
        load_ssh();
        turns.pass(NFT_LOOK_MS);
        assert_eq!(count("inet fw4 ssh4"), 0);
    });
}

#[test]
fn the_same_address_many_times_is_one_element_with_the_longest_time() {
    with_firewall(|| {
        load_ssh();
        let mut turns = Turns::new();
        for ticket in 0..NFT_QUEUED as u32 {
            turns.must_add(SSH, "192.0.2.7", 1 + ticket, ticket);
        }
        assert!(turns.add(SSH, "192.0.2.7", 30, 0) == Err(Refused::Full));
        assert_eq!(turns.turn().len(), NFT_QUEUED);
        assert!(list("inet fw4 ssh4").contains("{ 192.0.2.7 timeout 4m16s expires "));
    });
}

#[test]
fn what_can_not_be_taken_is_refused() {
    let mut turns = Turns::new();
    assert!(turns.add("ip/t/s", "2001:db8::7", 30, 0) == Err(Refused::Family));
    assert!(turns.add("ip6/t/s", "192.0.2.7", 30, 0) == Err(Refused::Family));
    for ticket in 0..NFT_QUEUED as u32 {
        turns.must_add(SSH, "192.0.2.7", 30, ticket);
    }
    assert!(turns.add(SSH, "192.0.2.7", 30, 0) == Err(Refused::Full));
    // Whoever is to be taken out replaces those.
    turns.must_add(SSH, "192.0.2.7", 0, 0);
    assert_eq!(Refused::Full.to_string(), "too many elements wait for nft");
}

#[test]
fn what_is_wrong_with_a_set_is_told_once_and_mended_when_it_is_right() {
    let table = "add table inet t\n";
    let as_address = |of: &str| format!("{table}add set inet t s4 {{ {of} }}\n");
    let right = as_address("type ipv4_addr; flags timeout;");
    let other = "the set is for something else; it needs `type ipv4_addr`";
    let map = format!("{table}add map inet t s4 {{ type ipv4_addr : mark; flags timeout; }}\n");
    for (wrong, why) in [
        (String::new(), "the table is not there"),
        (table.to_owned(), "the set is not there"),
        (as_address("type inet_service; flags timeout;"), other),
        (as_address("type mark; flags timeout;"), other),
        (as_address("type ipv6_addr; flags timeout;"), other),
        (map, other),
        (
            as_address("type ipv4_addr;"),
            "the set has no timeouts; it needs `flags timeout`",
        ),
    ] {
        with_firewall(|| {
            load(&wrong);
            let mut turns = Turns::new();
            turns.must_add("inet/t/s", "192.0.2.7", 100, 1);
            turns.must_add("inet/t/s", "192.0.2.8", 100, 2);
            assert_eq!(turns.turn(), [format!("failing inet t s4: {why}")]);
            for _ in 0..3 {
                assert_eq!(turns.next_moment(), [""; 0]);
            }
            load(&format!("flush ruleset\n{right}"));
            let mut news = turns.next_moment();
            news.sort();
            assert_eq!(news, ["done 1", "done 2"], "{why}");
            assert_eq!(count("inet t s4"), 2);
        });
    }
}

#[test]
fn a_set_that_fails_is_told_of_once_and_the_others_do_not_wait_for_it() {
    with_firewall(|| {
        load_ssh();
        let mut turns = Turns::new();
        for (ticket, set) in (0..).zip(["inet/t/bad", SSH, "inet/t/bad", SSH, "inet/t/bad", SSH]) {
            turns.must_add(set, &format!("192.0.2.{ticket}"), 20, ticket);
        }
        let mut news = turns.turn();
        news.sort();
        let failing = "failing inet t bad4: the table is not there";
        assert_eq!(news, ["done 1", "done 3", "done 5", failing]);
        assert_eq!(count("inet fw4 ssh4"), 3);

        // Its own are tried in vain.
        while turns.news.len() < 7 {
            turns.next_moment();
        }
        let mut late = turns.news[4..].to_vec();
        late.sort();
        assert_eq!(late, ["late 0", "late 2", "late 4"]);
        // Whoever comes next finds out at once how it is.
        turns.must_add("inet/t/bad", "192.0.2.7", 20, 7);
        assert_eq!(turns.turn(), [failing]);
    });
}

/// Until it is done: at how many seconds after `start` that was.
#[track_caller]
fn seconds_until_done(turns: &mut Turns, start: Instant) -> u64 {
    wait_for("the set to take it", || {
        let news = turns.next_moment();
        let is_done = news.iter().any(|news| news.starts_with("done"));
        // The kernel's clock is the real one.
        let_pass(Duration::from_millis(20));
        is_done.then(|| turns.now.since(start) / 1_000)
    })
}

#[test]
fn a_full_set_takes_as_many_as_it_has_room_for() {
    with_firewall(|| {
        load("add table inet t\nadd set inet t s4 { type ipv4_addr; flags timeout; size 5; }\n");
        let mut turns = Turns::new();
        for ticket in 0..20 {
            turns.must_add("inet/t/s", &format!("192.0.2.{ticket}"), 600, ticket);
        }
        let news = turns.turn();
        let done = news.iter().filter(|news| news.starts_with("done")).count();
        assert_eq!((done, news.len()), (5, 6), "{news:?}");
        assert_eq!(news[5], "failing inet t s4: the set is full");
        assert_eq!(count("inet t s4"), 5);
        for _ in 0..10 {
            assert_eq!(turns.next_moment(), [""; 0]);
        }
        // Somebody who is not in can be taken out; whoever leaves makes room for one more.
        turns.must_add("inet/t/s", "192.0.2.200", 0, 200);
        assert_eq!(turns.turn()[0], "done 200");
        turns.must_add("inet/t/s", "192.0.2.3", 0, 300);
        let news = turns.turn();
        assert_eq!(news[0], "done 300");
        let done = news.iter().filter(|news| news.starts_with("done"));
        assert_eq!(done.count(), 2, "{news:?}");
        assert_eq!(count("inet t s4"), 5);
        // Those who are in are renewed.
        let mut others = Turns::new();
        for ticket in [0, 1, 2, 4] {
            others.must_add("inet/t/s", &format!("192.0.2.{ticket}"), 3_600, ticket);
        }
        assert_eq!(others.turn(), ["done 0", "done 1", "done 2", "done 4"]);
        assert_eq!(list("inet t s4").matches("timeout 1h expires").count(), 4);
        // The others are told in the end.
        while turns
            .news
            .iter()
            .filter(|news| news.starts_with("late"))
            .count()
            < 14
        {
            turns.next_moment();
        }
        assert_eq!(
            turns
                .netfilter
                .next_deadline()
                .map(|_| turns.pass(NFT_LOOK_MS)),
            Some(vec![])
        );
    });
}

#[test]
fn a_set_that_fails_is_tried_again_when_its_pause_is_over() {
    with_firewall(|| {
        load("add table inet t\nadd set inet t s4 { type ipv4_addr; flags timeout; size 1; }\n");
        load("add element inet t s4 { 192.0.2.1 timeout 1s }\n");
        let mut turns = Turns::new();
        let start = turns.now;
        turns.must_add("inet/t/s", "192.0.2.7", 100_000, 1);
        assert_eq!(turns.turn(), ["failing inet t s4: the set is full"]);
        // Nobody changes anything: the other's time is over.
        let seconds = seconds_until_done(&mut turns, start);
        let is_try = [1, 3, 7, 15, 31].contains(&seconds) || seconds % 60 == 3;
        assert!(is_try, "{seconds}");
    });
}

#[test]
fn a_set_of_intervals_has_the_address_and_no_other() {
    with_firewall(|| {
        load(
            "add table inet t
             add set inet t s4 { type ipv4_addr; flags interval,timeout; }
             add set inet t s6 { type ipv6_addr; flags interval,timeout; }
             add element inet t s4 { 198.51.100.0/24 }\n",
        );
        let has = |set: &str, address: &str| {
            nft(
                &[
                    "get",
                    "element",
                    "inet",
                    "t",
                    set,
                    &format!("{{ {address} }}"),
                ],
                "",
            )
            .is_some()
        };
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let edges = ["192.0.2.255", "255.255.255.255", "2001:db8::ffff", last];
        let mut turns = Turns::new();
        for round in 0..2 {
            for (ticket, address) in (0..).zip(edges) {
                turns.must_add("inet/t/s", address, 60, ticket);
            }
            assert_eq!(
                turns.turn(),
                ["done 0", "done 1", "done 2", "done 3"],
                "{round}"
            );
            for (set, address, expected) in [
                ("s4", "192.0.2.254", false),
                ("s4", "192.0.2.255", true),
                ("s4", "192.0.3.0", false),
                ("s4", "203.0.113.1", false),
                ("s4", "255.255.255.254", false),
                ("s4", "255.255.255.255", true),
                ("s4", "198.51.100.7", true),
                ("s6", "2001:db8::fffe", false),
                ("s6", "2001:db8::ffff", true),
                ("s6", "2001:db8::1:0", false),
                ("s6", last, true),
            ] {
                assert_eq!(has(set, address), expected, "{address}");
            }
        }
        for address in edges {
            turns.is_in_force("inet/t/s", address, 60);
        }
        load("delete element inet t s4 { 192.0.2.255 }\n");
        assert_eq!(turns.pass(NFT_LOOK_MS), ["missing 1"]);
        assert!(has("s4", "192.0.2.255"));
        turns.in_force.clear();
        for (ticket, address) in (0..).zip(edges) {
            turns.must_add("inet/t/s", address, 0, ticket);
        }
        assert_eq!(turns.turn().len(), 4);
        assert!(
            edges
                .iter()
                .all(|address| !has("s4", address) && !has("s6", address))
        );
        assert!(has("s4", "198.51.100.7"));
    });
}

#[test]
fn what_others_take_out_is_put_back() {
    with_firewall(|| {
        load_ssh();
        let mut turns = Turns::new();
        turns.must_add(SSH, "192.0.2.7", 600, 1);
        turns.must_add(SSH, "2001:db8::7", 600, 2);
        turns.must_add(SSH, "192.0.2.8", 600, 3);
        assert_eq!(turns.turn().len(), 3);
        for address in ["192.0.2.7", "2001:db8::7", "192.0.2.8"] {
            turns.is_in_force(SSH, address, 600);
        }
        // Its time is as good as over.
        turns.is_in_force(SSH, "192.0.2.9", 2);
        // Nothing, our own changes, and others' that take nothing out.
        assert_eq!(turns.pass(NFT_LOOK_MS), [""; 0]);
        turns.must_add(SSH, "192.0.2.10", 600, 4);
        assert_eq!(turns.pass(NFT_LOOK_MS), ["done 4"]);
        load("add element inet fw4 ssh4 { 192.0.2.99 timeout 1h }\n");
        assert_eq!(turns.pass(NFT_LOOK_MS), [""; 0]);

        load("flush set inet fw4 ssh4\n");
        assert_eq!(turns.pass(NFT_LOOK_MS - 1), [""; 0]);
        assert_eq!(count("inet fw4 ssh4"), 0);
        assert_eq!(turns.pass(1), ["missing 2"]);
        let listed = list("inet fw4 ssh4");
        // For the rest of its time, in whole seconds.
        assert!(
            listed.contains("192.0.2.7 timeout 9m56s expires "),
            "{listed}"
        );
        assert_eq!(count("inet fw4 ssh4"), 2);
        assert_eq!(turns.pass(NFT_LOOK_MS), [""; 0]);

        // The whole firewall goes, and comes again without them.
        load("flush ruleset\n");
        let news = turns.pass(NFT_LOOK_MS);
        let failing = |version| format!("failing inet fw4 ssh{version}: the table is not there");
        assert_eq!(news, ["missing 3".to_owned(), failing(4), failing(6)]);
        for _ in 0..20 {
            assert_eq!(turns.pass(NFT_LOOK_MS), [""; 0]);
        }
        load_ssh();
        assert_eq!(turns.pass(NFT_LOOK_MS), [""; 0]);
        assert_eq!(count("inet fw4 ssh4") + count("inet fw4 ssh6"), 3);

        // Whoever is taken out is not put back, nor is whoever is no longer to be in.
        load("flush ruleset\n");
        turns.must_add(SSH, "192.0.2.7", 0, 5);
        assert_eq!(turns.turn(), ["done 5"]);
        turns.in_force.retain(|(_, address, _)| address.is_ipv6());
        turns.pass(NFT_LOOK_MS);
        load_ssh();
        turns.pass(NFT_LOOK_MS);
        assert_eq!((count("inet fw4 ssh4"), count("inet fw4 ssh6")), (0, 1));
        turns.in_force.clear();
        turns.turn();
        assert!(turns.netfilter.next_deadline().is_none());
    });
}

#[test]
fn a_change_of_others_between_ours_does_no_harm() {
    with_firewall(|| {
        load_ssh();
        let mut turns = Turns::new();
        turns.must_add(SSH, "192.0.2.1", 600, 1);
        assert_eq!(turns.turn(), ["done 1"]);
        turns.is_in_force(SSH, "192.0.2.1", 600);
        // The set has another form now, and we have not looked since.
        load(
            "flush ruleset\nadd table inet fw4
              add set inet fw4 ssh4 { type ipv4_addr; flags interval,timeout; }\n",
        );
        turns.must_add(SSH, "192.0.2.2", 600, 2);
        assert_eq!(turns.turn(), ["done 2"]);
        let get = ["get", "element", "inet", "fw4", "ssh4", "{ 192.0.2.3 }"];
        assert!(nft(&get, "").is_none());
        // What it took along is found missing.
        assert_eq!(turns.pass(NFT_LOOK_MS), ["missing 1"]);
        assert_eq!(count("inet fw4 ssh4"), 2);
    });
}

#[test]
fn ten_thousand_elements_are_in_a_set() {
    with_firewall(|| {
        load_ssh();
        let mut text = "add element inet fw4 ssh4 {".to_owned();
        let number = |number: u32| Ipv4Addr::from(0x0A00_0000 + number);
        for other in 0..10_000 {
            let _ = write!(text, " {} timeout 1h,", number(100_000 + other));
        }
        load(&(text + " }\n"));
        let mut turns = Turns::new();
        for ticket in 0..10_000 {
            let address = number(ticket).to_string();
            if turns.add(SSH, &address, 600 + ticket, ticket) == Err(Refused::Full) {
                assert_eq!(turns.turn().len(), NFT_QUEUED);
                turns.must_add(SSH, &address, 600 + ticket, ticket);
            }
        }
        turns.turn();
        let done: Vec<_> = (0..10_000).map(|ticket| format!("done {ticket}")).collect();
        assert_eq!(turns.news, done);
        let listed = list("inet fw4 ssh4");
        assert_eq!(listed.matches(" expires ").count(), 20_000);
        for ticket in [0, 1, 255, 256, 4_711, 9_999] {
            assert!(listed.contains(&format!(" {} timeout ", number(ticket))));
        }
        // One of ours is missing among them.
        turns.is_in_force(SSH, "10.0.0.77", 600);
        turns.is_in_force(SSH, "10.0.0.78", 600);
        load("delete element inet fw4 ssh4 { 10.0.0.77 }\n");
        assert_eq!(turns.pass(NFT_LOOK_MS), ["missing 1"]);
        assert_eq!(count("inet fw4 ssh4"), 20_000);
    });
}

#[test]
fn many_sets_with_the_longest_names_change_in_one_turn() {
    with_firewall(|| {
        let table = "t".repeat(NFT_NAME);
        let name = |number: usize| format!("{}{number:03}", "s".repeat(NFT_NAME - 3));
        let mut text = String::new();
        for number in 0..3 * NFT_SETS {
            text += &sets("inet", &table, &name(number));
        }
        load(&text);
        let mut turns = Turns::new();
        let count = NFT_QUEUED as u32;
        for ticket in 0..count {
            let set = format!(
                "inet/{table}/{}",
                name(ticket as usize / 2 % (3 * NFT_SETS))
            );
            let address = ["192.0.2.7", "2001:db8::7"][ticket as usize % 2];
            turns.must_add(&set, address, 600 + ticket, ticket);
        }
        let mut news = turns.turn();
        let mut expected: Vec<_> = (0..count).map(|ticket| format!("done {ticket}")).collect();
        expected.sort();
        news.sort();
        assert_eq!(news, expected);
    });
}

#[test]
fn while_others_change_everything_each_element_has_one_end() {
    with_firewall(|| {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let both = sets("inet", "t", "a") + &sets("ip", "t", "b");
                let full = "add set inet t c4 { type ipv4_addr; flags timeout; size 7; }\n";
                while !is_over.load(Ordering::Relaxed) {
                    load(&format!("{both}{full}"));
                    load("flush set inet t a4\n");
                    load("delete set inet t a4\n");
                    load("flush ruleset\n");
                }
                load(&both);
            });
            let mut turns = Turns::new();
            let count = NFT_QUEUED as u32;
            let sets = ["inet/t/a", "ip/t/b", "inet/t/c", "inet/t/bad"];
            for ticket in 0..count {
                let address = format!("192.0.2.{}", ticket % 200);
                turns.must_add(sets[ticket as usize % 4], &address, 600 + ticket, ticket);
            }
            while turns.netfilter.next_deadline().is_some() {
                turns.next_moment();
            }
            is_over.store(true, Ordering::Relaxed);
            let mut ends = vec![String::new(); count as usize];
            for news in &turns.news {
                if let Some((end @ ("done" | "late"), ticket)) = news.split_once(' ') {
                    ends[ticket.parse::<usize>().unwrap()] += end;
                }
            }
            for (ticket, end) in ends.iter().enumerate() {
                let is_bad = ticket % 4 == 3;
                assert!(end == "late" || end == "done" && !is_bad, "{ticket}: {end}");
            }
        });
    });
}
