use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes on a little-endian machine. On a big-endian one the headers are the other way round.
#[cfg(target_endian = "little")]
#[test]
fn a_message_has_the_bytes_that_nft_sends() {
    let mut requests = Requests::default();
    requests.begin(Kind::BATCH_BEGIN, 0, 7);
    requests.begin(Kind::NEW_ELEMENTS, 1, 8);
    requests.add_name(attribute::TABLE, "t");
    requests.add_name(attribute::SET, "a4");
    requests.nest(attribute::ELEMENTS, |list| {
        list.nest(attribute::ELEMENT, |element| {
            element.add(attribute::TIMEOUT, &30_000u64.to_be_bytes());
            let address = key("192.0.2.7".parse().unwrap());
            element.nest(attribute::KEY, |key| key.add(attribute::VALUE, &address));
        });
    });
    requests.acknowledge(9);
    let expected: &[&[u8]] = &[
        &[20, 0, 0, 0, 16, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 10],
        &[68, 0, 0, 0, 12, 10, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0],
        &[6, 0, 1, 0, b't', 0, 0, 0],
        &[7, 0, 2, 0, b'a', b'4', 0, 0],
        &[32, 0, 3, 0x80],
        &[28, 0, 1, 0x80],
        &[12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0x75, 0x30],
        &[12, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 7],
    ];
    assert_eq!(requests.bytes(), expected.concat());
}

#[test]
fn an_error_is_an_answer() {
    let error = |errno: i32, length: u32| {
        let errno = errno.wrapping_neg();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(2u16.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(77u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(errno.to_ne_bytes());
        bytes
    };
    for errno in [0, libc::ENOENT, libc::ENFILE] {
        let expected = KernelAnswer {
            sequence: 77,
            said: Said::Ended(errno),
        };
        assert_eq!(KernelAnswer::parse(&error(errno, 20)), Some(expected));
    }
    // The kernel says the request again behind the error, and that may have been cut.
    assert!(KernelAnswer::parse(&error(1, 500)).is_some());
    // Whoever says that a message ends within its header says nothing.
    assert_eq!(KernelAnswer::parse(&error(1, 16)), None);
    assert_eq!(KernelAnswer::parse(&error(1, 0)), None);
    assert_eq!(KernelAnswer::parse(&error(1, 20)[..19]), None);
    let strange = error(i32::MIN, 20);
    assert!(KernelAnswer::parse(&strange).is_some());
}

/// An attribute's kind and its payload.
fn attributes() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    vec((0..=KIND, vec(any::<u8>(), 0..40)), 0..12)
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(
        sequence: u32,
        family: u8,
        before in attributes(),
        inner in attributes(),
    ) {
        let mut requests = Requests::default();
        requests.begin(Kind::GET_TABLE, family, 0);
        requests.begin(Kind::GET_SET, family, sequence);
        let start = requests.last;
        for (kind, payload) in &before {
            requests.add(*kind, payload);
        }
        requests.nest(5, |list| {
            for (kind, payload) in &inner {
                list.add(*kind, payload);
            }
        });
        let bytes = requests.bytes();
        prop_assert_eq!(bytes.len() % 4, 0);
        let answer = KernelAnswer::parse(&bytes[start..]).unwrap();
        prop_assert_eq!(answer.sequence, sequence);
        let Said::Attributes(mut found) = answer.said else {
            panic!("it is no error");
        };
        for (kind, payload) in &before {
            prop_assert_eq!(found.next(), Some((*kind, &payload[..])));
        }
        let (kind, nested) = found.next().unwrap();
        prop_assert_eq!(kind, 5);
        prop_assert_eq!(found.next(), None);
        let nested: Vec<_> = Attributes(nested).map(|(kind, it)| (kind, it.to_vec())).collect();
        prop_assert_eq!(nested, inner);
    }

    #[test]
    fn a_name_ends_in_a_nul_and_a_number_is_in_the_networks_order(name in "[a-z]{0,20}", number: u32) {
        let mut requests = Requests::default();
        requests.begin(Kind::GET_SET, 1, 1);
        requests.add_name(attribute::TABLE, &name);
        requests.add(attribute::KEY_TYPE, &number.to_be_bytes());
        let Some(KernelAnswer { said: Said::Attributes(found), .. }) = KernelAnswer::parse(requests.bytes()) else {
            panic!("it has attributes");
        };
        let expected = format!("{name}\0");
        prop_assert_eq!(found.find(attribute::TABLE), Some(expected.as_bytes()));
        prop_assert_eq!(found.number(attribute::KEY_TYPE), Some(number));
        prop_assert_eq!(found.number(attribute::TABLE).is_some(), name.len() == 3);
        prop_assert_eq!(found.number(attribute::SET), None);
    }

    #[test]
    fn whatever_comes_is_read_to_an_end(bytes in vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    /// As a kernel's answer, but for some of its bytes and its end.
    #[test]
    fn a_damaged_answer_is_read_to_an_end(
        written in attributes(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut requests = Requests::default();
        requests.begin(Kind::GET_SET, 1, 1);
        for (kind, payload) in &written {
            requests.add(*kind, payload);
        }
        let mut bytes = requests.bytes().to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        read_all(&bytes);
    }
}

/// Reads as much as there is, and no more than was given.
fn read_all(bytes: &[u8]) {
    let Some(answer) = KernelAnswer::parse(bytes) else {
        return;
    };
    if let Said::Attributes(found) = answer.said {
        let read: usize = found.map(|(_, payload)| ATTRIBUTE + payload.len()).sum();
        assert!(HEADER + FAMILY + read <= bytes.len());
        for kind in 0..8 {
            let _ = (found.find(kind), found.number(kind));
        }
    }
}
