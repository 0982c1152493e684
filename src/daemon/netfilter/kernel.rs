//! What is said to the kernel's nf_tables, and what it answers.
//!
//! The kernel handles what it is sent before the call returns, so the answer is there at once. Each change of
//! tables, sets and rules, by whomever, begins another generation. A transaction names the one that it is meant
//! for, and the kernel refuses it if there is another. So what we know of a set is right, or nothing is done.

use super::message::{Attributes, KernelAnswer, Kind, Requests, Said, attribute, key};
use crate::limits::{NFT_ANSWER, NFT_ANSWERS, NFT_QUEUED, NFT_SETS};
use crate::sys::netlink::NetfilterSocket;
use crate::terms::{FamilySet, NftFamily, NftSet};
use core::fmt;
use core::net::IpAddr;
use std::io;

/// Flags of a set (linux/netfilter/nf_tables.h).
const INTERVAL: u32 = 4;
const MAP: u32 = 8;
const TIMEOUT: u32 = 16;

/// A flag of an element: an interval ends before it.
const INTERVAL_END: u32 = 1;

/// nft's numbers for types of elements.
const IPV4_ADDRESS: u32 = 7;
const IPV6_ADDRESS: u32 = 8;

/// How often a transaction is tried while others change something between.
const TRIES: usize = 4;

/// The most bytes of an element in a list: an interval of IPv6 addresses with a timeout.
const ELEMENT: usize = 80;
const _: () = assert!(
    NFT_QUEUED * ELEMENT <= u16::MAX as usize,
    "an attribute's length has 16 bits"
);

/// Why the kernel does not change a set, or what is wrong with the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetRefusal {
    /// The table is missing.
    NoTable,
    /// The table is there, but the set is missing.
    NoSet,
    /// The set is there, but no rule of ours that uses it.
    NoRules,
    /// Its elements are not addresses of this family.
    Type(u8),
    /// Its elements don't end by themselves.
    NoTimeout,
    /// It has as many elements as it may have.
    Full,
    /// We lack the capability.
    NotPermitted,
    /// There are no netlink sockets to netfilter for us.
    NoNetlink,
    /// Netfilter does not know nf_tables.
    NoNfTables,
    /// Others have changed something at each try.
    Changing,
    /// No answer came.
    Unanswered,
    /// Another error, by its errno.
    Errno(i32),
}

impl SetRefusal {
    fn of_errno(errno: i32) -> Self {
        match errno {
            libc::ENFILE => Self::Full,
            libc::EPERM => Self::NotPermitted,
            errno => Self::Errno(errno),
        }
    }

    /// Whether there is nothing in the set, because there is none.
    pub fn is_absence(self) -> bool {
        matches!(self, Self::NoTable | Self::NoSet)
    }

    /// Whether fewer elements could be taken.
    pub fn depends_on_elements(self) -> bool {
        matches!(self, Self::Full | Self::Errno(_))
    }
}

impl From<io::Error> for SetRefusal {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            // The machine has too many files open.
            Some(libc::ENFILE) => Self::Errno(libc::ENFILE),
            // The first is systemd's answer, the last qemu's.
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EPFNOSUPPORT) => {
                Self::NoNetlink
            }
            Some(errno) => Self::of_errno(errno),
            None => Self::Unanswered,
        }
    }
}

/// For the log, after the set's name.
impl fmt::Display for SetRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTable => "the table is not there",
            Self::NoSet => "the set is not there",
            Self::NoRules => "the rules that use it are not there",
            Self::Type(version) => {
                return write!(
                    f,
                    "the set is for something else; it needs `type ipv{version}_addr`"
                );
            }
            Self::NoTimeout => "the set has no timeouts; it needs `flags timeout`",
            Self::Full => "the set is full",
            Self::NotPermitted => "not permitted; the daemon needs CAP_NET_ADMIN",
            Self::NoNetlink => {
                "no netlink: the kernel has none, or systemd's RestrictAddressFamilies lacks AF_NETLINK"
            }
            Self::NoNfTables => "the kernel has no nf_tables",
            Self::Changing => "others keep changing the firewall",
            Self::Unanswered => "the kernel does not answer",
            Self::Errno(errno) => return io::Error::from_raw_os_error(*errno).fmt(f),
        })
    }
}

/// An element to be put into a set or taken out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetElement {
    /// The address.
    pub address: IpAddr,
    /// How long it stays, in seconds; 0 takes it out.
    pub seconds: u64,
}

/// What is changed in one set.
pub struct SetChange {
    /// The set.
    pub set: FamilySet,
    /// Its elements, each address once. Without any, all that it has are taken out.
    pub elements: Vec<SetElement>,
}

/// What we know of a set.
#[derive(Clone, Copy)]
struct Form {
    /// It has intervals, so each address is one, and has an end.
    is_interval: bool,
}

/// Our side of the conversation.
#[derive(Default)]
pub struct Kernel {
    /// None before it is needed, and after answers were lost.
    socket: Option<NetfilterSocket>,
    /// The last answer.
    buffer: Vec<u8>,
    /// The last request's number. They never begin again, so no answer is taken for another's.
    sequence: u32,
    /// The generation that we know of; 0 if we know none.
    generation: u32,
    /// What we know of that generation's sets.
    forms: Vec<(FamilySet, Form)>,
    /// Others have changed something since the last [`Kernel::has_changed`].
    is_foreign: bool,
}

impl Kernel {
    /// Changes sets: all of them, or none. Returns what is refused: the place of a change, and why. If nothing
    /// is refused, all is done.
    pub fn change(&mut self, changes: &[SetChange]) -> Vec<(usize, SetRefusal)> {
        let mut why = SetRefusal::Changing;
        for _ in 0..TRIES {
            match self.try_change(changes) {
                Ok(refused) => return refused,
                Err(SetRefusal::Errno(libc::ERESTART)) => {
                    self.is_foreign = true;
                    self.generation = 0;
                }
                Err(other) => {
                    why = other;
                    break;
                }
            }
        }
        (0..changes.len()).map(|place| (place, why)).collect()
    }

    fn try_change(
        &mut self,
        changes: &[SetChange],
    ) -> Result<Vec<(usize, SetRefusal)>, SetRefusal> {
        if self.generation == 0 {
            self.learn_generation()?;
        }
        let mut refused = Vec::new();
        let mut forms = Vec::with_capacity(changes.len());
        for (place, change) in changes.iter().enumerate() {
            match self.form(&change.set) {
                Ok(form) => forms.push(form),
                Err(why) => refused.push((place, why)),
            }
        }
        if !refused.is_empty() {
            return Ok(refused);
        }
        let first = self.sequence.wrapping_add(1);
        let mut batch = Batch::new(first, self.generation);
        for (change, form) in changes.iter().zip(forms) {
            batch.add(change, form);
        }
        let last = batch.end();
        self.sequence = last;
        self.send(&batch.requests)?;
        loop {
            let KernelAnswer { sequence, said } = self.answer(first)?;
            if let Said::Ended(errno @ 1..) = said {
                let why = SetRefusal::of_errno(errno);
                let Some(place) = batch.place(sequence) else {
                    return Err(why);
                };
                if refused.iter().all(|(known, _)| *known != place) {
                    refused.push((place, why));
                }
            }
            // The kernel answers in the order of the messages.
            if sequence == last {
                break;
            }
        }
        if refused.is_empty() {
            // A transaction begins another generation, whose number is never 0.
            self.generation = self.generation.wrapping_add(1).max(1);
        }
        Ok(refused)
    }

    /// Whether others have changed something since the last call.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn has_changed(&mut self) -> Result<bool, SetRefusal> {
        let before = self.generation;
        self.learn_generation()?;
        let is_foreign = core::mem::take(&mut self.is_foreign);
        Ok(is_foreign || before != 0 && before != self.generation)
    }

    /// Whether an address is in a set. A missing set has none.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn has(&mut self, set: &FamilySet, address: IpAddr) -> Result<bool, SetRefusal> {
        let mut request = self.request(Kind::GET_ELEMENTS, set);
        request.add_name(attribute::SET, &set.name());
        request.nest(attribute::ELEMENTS, |list| {
            add_element(list, &key(address), 0, 0);
        });
        match self.ask(&request) {
            Ok(_) => Ok(true),
            Err(SetRefusal::Errno(libc::ENOENT)) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// What is wrong with a set, or with our own rules that use it.
    pub fn find_fault(&mut self, set: &FamilySet, has_rules: bool) -> Option<SetRefusal> {
        match self.form(set) {
            Err(why) => Some(why),
            Ok(_) if has_rules && self.has_rules(set) == Ok(false) => Some(SetRefusal::NoRules),
            Ok(_) => None,
        }
    }

    fn has_rules(&mut self, set: &FamilySet) -> Result<bool, SetRefusal> {
        let mut request = self.request(Kind::GET_CHAIN, set);
        request.add_name(attribute::CHAIN, NftSet::CHAIN);
        match self.ask(&request) {
            Ok(answer) => Ok(answer.number(attribute::CHAIN_USE) != Some(0)),
            Err(SetRefusal::Errno(libc::ENOENT)) => Ok(false),
            Err(why) => Err(why),
        }
    }

    fn learn_generation(&mut self) -> Result<(), SetRefusal> {
        let mut request = Requests::default();
        request.begin(Kind::GET_GENERATION, 0, self.next_sequence());
        let generation = match self.ask(&request) {
            Ok(answer) => answer.number(attribute::GENERATION).unwrap_or(0),
            Err(SetRefusal::Errno(libc::EINVAL | libc::EOPNOTSUPP)) => {
                return Err(SetRefusal::NoNfTables);
            }
            Err(why) => return Err(why),
        };
        if generation != self.generation {
            self.forms.clear();
        }
        self.generation = generation;
        Ok(())
    }

    /// What we know of a set, or find out.
    fn form(&mut self, set: &FamilySet) -> Result<Form, SetRefusal> {
        if let Some((_, form)) = self.forms.iter().find(|(known, _)| known == set) {
            return Ok(*form);
        }
        let form = self.find_form(set)?;
        if self.forms.len() >= NFT_SETS {
            self.forms.clear();
        }
        self.forms.push((set.clone(), form));
        Ok(form)
    }

    fn find_form(&mut self, set: &FamilySet) -> Result<Form, SetRefusal> {
        let mut request = self.request(Kind::GET_SET, set);
        request.add_name(attribute::SET, &set.name());
        let answer = match self.ask(&request) {
            Ok(answer) => answer,
            Err(SetRefusal::Errno(libc::ENOENT)) => return Err(self.find_table(set)),
            Err(why) => return Err(why),
        };
        let number = |kind| answer.number(kind).unwrap_or(0);
        let (flags, of) = (number(attribute::SET_FLAGS), number(attribute::KEY_TYPE));
        let (version, wanted) = match set.is_v4 {
            true => (4, IPV4_ADDRESS),
            false => (6, IPV6_ADDRESS),
        };
        if of != wanted || flags & MAP != 0 {
            return Err(SetRefusal::Type(version));
        }
        if flags & TIMEOUT == 0 {
            return Err(SetRefusal::NoTimeout);
        }
        let is_interval = flags & INTERVAL != 0;
        Ok(Form { is_interval })
    }

    /// Which of the two is not there.
    fn find_table(&mut self, set: &FamilySet) -> SetRefusal {
        let request = self.request(Kind::GET_TABLE, set);
        match self.ask(&request) {
            Ok(_) => SetRefusal::NoSet,
            Err(SetRefusal::Errno(libc::ENOENT)) => SetRefusal::NoTable,
            Err(why) => why,
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// A request about a set's table.
    fn request(&mut self, kind: Kind, set: &FamilySet) -> Requests {
        let mut request = Requests::default();
        begin(&mut request, kind, set, self.next_sequence());
        request
    }

    /// Sends the request that has the last number, and returns what is asked for.
    fn ask(&mut self, request: &Requests) -> Result<Attributes<'_>, SetRefusal> {
        self.send(request)?;
        match self.answer(self.sequence)?.said {
            Said::Attributes(attributes) => Ok(attributes),
            Said::Ended(0) => Err(SetRefusal::Unanswered),
            Said::Ended(errno) => Err(SetRefusal::of_errno(errno)),
        }
    }

    fn send(&mut self, requests: &Requests) -> Result<(), SetRefusal> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(NetfilterSocket::open()?),
        };
        Ok(socket.send(requests.bytes())?)
    }

    /// The next answer to one of the requests from this number on.
    fn answer(&mut self, first: u32) -> Result<KernelAnswer<'_>, SetRefusal> {
        self.buffer.resize(NFT_ANSWER, 0);
        match self.receive(first) {
            Ok(length) => {
                let answer = KernelAnswer::parse(&self.buffer[..length]);
                answer.ok_or(SetRefusal::Unanswered)
            }
            Err(error) => {
                // What may still come has nowhere to go: it would be in the way of later answers.
                self.socket = None;
                Err(match error.kind() {
                    io::ErrorKind::WouldBlock => SetRefusal::Unanswered,
                    _ => error.into(),
                })
            }
        }
    }

    fn receive(&mut self, first: u32) -> io::Result<usize> {
        let Some(socket) = &self.socket else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let asked = self.sequence.wrapping_sub(first);
        for _ in 0..NFT_ANSWERS {
            let length = match socket.receive(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received?.unwrap_or(0),
            };
            let answer = KernelAnswer::parse(&self.buffer[..length]);
            if answer.is_some_and(|answer| answer.sequence.wrapping_sub(first) <= asked) {
                return Ok(length);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Begins a message about a set's table.
fn begin(requests: &mut Requests, kind: Kind, set: &FamilySet, sequence: u32) {
    let family = match set.of.family {
        NftFamily::Inet => libc::NFPROTO_INET,
        NftFamily::Ip => libc::NFPROTO_IPV4,
        NftFamily::Ip6 => libc::NFPROTO_IPV6,
    };
    requests.begin(kind, family as u8, sequence);
    requests.add_name(attribute::TABLE, &set.of.table);
}

fn add_element(list: &mut Requests, key: &[u8], flags: u32, seconds: u64) {
    list.nest(attribute::ELEMENT, |element| {
        if flags != 0 {
            element.add(attribute::ELEMENT_FLAGS, &flags.to_be_bytes());
        }
        if seconds != 0 {
            let ms = seconds.saturating_mul(1_000);
            element.add(attribute::TIMEOUT, &ms.to_be_bytes());
        }
        element.nest(attribute::KEY, |key_of| key_of.add(attribute::VALUE, key));
    });
}

/// The messages of a transaction.
struct Batch {
    requests: Requests,
    /// The number of its begin.
    first: u32,
    /// The changes in it. Each has a number, which all of its messages have.
    changes: u32,
}

impl Batch {
    fn new(first: u32, generation: u32) -> Self {
        let mut requests = Requests::default();
        requests.begin(Kind::BATCH_BEGIN, 0, first);
        requests.add(attribute::GENERATION, &generation.to_be_bytes());
        Self {
            requests,
            first,
            changes: 0,
        }
    }

    /// Elements are added, deleted, and added again with their time: kernels before 6.12 do not renew an element
    /// that is there, and deleting one that is not there is an error. The firewall sees only the result.
    fn add(&mut self, change: &SetChange, form: Form) {
        self.changes += 1;
        if change.elements.is_empty() {
            return self.add_list(Kind::DELETE_ELEMENTS, change, form, false);
        }
        for (kind, is_final) in [
            (Kind::NEW_ELEMENTS, false),
            (Kind::DELETE_ELEMENTS, false),
            (Kind::NEW_ELEMENTS, true),
        ] {
            let mut elements = change.elements.iter();
            if !is_final || elements.any(|element| element.seconds > 0) {
                self.add_list(kind, change, form, is_final);
            }
        }
    }

    fn add_list(&mut self, kind: Kind, change: &SetChange, form: Form, is_final: bool) {
        let number = self.first.wrapping_add(self.changes);
        let requests = &mut self.requests;
        begin(requests, kind, &change.set, number);
        requests.add_name(attribute::SET, &change.set.name());
        // Without a list, all are meant.
        if change.elements.is_empty() {
            return;
        }
        requests.nest(attribute::ELEMENTS, |list| {
            for &SetElement { address, seconds } in &change.elements {
                if is_final && seconds == 0 {
                    continue;
                }
                let key = key(address);
                add_element(list, &key, 0, if is_final { seconds } else { 0 });
                if form.is_interval
                    && let Some(end) = after(&key)
                {
                    add_element(list, &end, INTERVAL_END, 0);
                }
            }
        });
    }

    /// Ends it. The last message has a number of its own and is answered in any case: then no other answer
    /// follows. Returns that number.
    fn end(&mut self) -> u32 {
        let last = self.first.wrapping_add(self.changes + 1);
        self.requests.acknowledge(last);
        self.requests.begin(Kind::BATCH_END, 0, last);
        last
    }

    /// The place of the change that an answer is about; None if it is about the whole.
    fn place(&self, number: u32) -> Option<usize> {
        let change = number.wrapping_sub(self.first).min(self.changes);
        change.checked_sub(1).map(|place| place as usize)
    }
}

/// The key that follows; None behind the last.
fn after(key: &[u8]) -> Option<heapless::Vec<u8, 16>> {
    let mut next = heapless::Vec::from_slice(key).ok()?;
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}
