//! Every bound and every time-out in one place: its name, its unit, and the reason for its value.
//!
//! A peer can make Shimmer reach a bound, but never exceed it. "Full" is a normal answer everywhere.

/// Rounds of PBKDF2 between a secret and its key. A scan of one minute's ports lets an attacker check guesses
/// of the secret offline; this is the cost of each guess. Part of the scheme: it never changes.
pub const STRETCH_ROUNDS: u32 = 131_072;

/// Rounds stretched in one turn of the daemon's loop: 30 ms on a 580 MHz MIPS, so that no session waits more
/// than 50 ms while a reload computes keys.
pub const STRETCH_ROUNDS_PER_TURN: u32 = 1_024;

/// Windows open at once: the last minute, this one and the next.
pub const LIVE_WINDOWS: usize = 3;

/// Windows on either side of the live ones whose real ports ban nobody: a clock may be two minutes off.
pub const GRACE_WINDOWS: u64 = 2;

/// Windows on either side of the current one in which `clock-off=` is searched.
pub const CLOCK_OFF_WINDOWS: u64 = 15;

/// The most decoys of a minute; the default is [`DEFAULT_DECOYS`].
pub const MAX_DECOYS: u8 = 63;

/// Decoys of a minute by default.
pub const DEFAULT_DECOYS: u8 = 15;

/// The most ports of one minute: the real one and its decoys.
pub const MINUTE_PORTS: usize = MAX_DECOYS as usize + 1;

/// The most ports that a mirage has open at once.
pub const PLAN_PORTS: usize = LIVE_WINDOWS * MINUTE_PORTS;

/// The daemon requires a range of this many times a minute's ports, so that three windows fit without crowding.
pub const RANGE_FACTOR: u32 = 3;

/// Ports below this one need root or CAP_NET_BIND_SERVICE (capabilities(7)).
pub const PRIVILEGED_PORTS: u16 = 1_024;

/// The length of a window by default, in seconds.
pub const DEFAULT_PERIOD_S: u32 = 60;
/// The shortest window, in seconds: in a shorter one, a port may be gone before a dial completes.
pub const MIN_PERIOD_S: u32 = 2;
/// The longest window, in seconds: a day.
pub const MAX_PERIOD_S: u32 = 86_400;

/// How long a window that was served and left is not served again, in ms of the boot clock. So no port that
/// somebody has seen opens again when the clock is set back.
pub const SERVED_MEMORY_MS: u64 = 600_000;

/// The number of remembered runs of windows that were served and left. Each jump of the clock starts three
/// runs, because it leaves three windows at once.
pub const SERVED_RUNS: usize = 48;

/// The first second of the release's month, UTC. An earlier time is that of a router without a battery.
pub const RELEASE_UNIX: u64 = 1_793_491_200; // 2026-11-01T00:00:00Z

/// The least change of the distance between real clock and boot clock that counts as a step, in ms.
pub const CLOCK_STEP_MS: i64 = 1_000;

/// How often the log repeats that the clock keeps all ports closed, in ms.
pub const CLOCK_REMINDER_MS: u64 = 3_600_000;

/// How often a clock that is not trusted yet is checked, in ms.
pub const CLOCK_CHECK_MS: u64 = 60_000;

/// How long after the handshake a token counts, in ms.
pub const TOKEN_MS: u64 = 3_000;

/// The shortest time for which a trap may hold a visitor at gate = token, in seconds. It is longer than
/// [`TOKEN_MS`], or the end of a connection would tell whether it had been judged.
pub const MIN_TOKEN_TRAP_S: u32 = 4;

/// Used tokens or datagrams that one mirage remembers: 128 KiB of memory if all places are taken, and of the state
/// folder. Three windows share them, so if these last one minute, 1,365 logins a minute are possible.
pub const NONCES: usize = 4_096;

/// A source may have as many of [`NONCES`] as one of so many sources that fill them at the same time: an eighth.
pub const NONCE_SHARES: usize = 8;

/// Keys that are no longer served, or with windows of another length, whose used tokens are still remembered.
pub const FORMER_KEYS: usize = 8;

/// Runs of windows that are closed for ever, for one mirage.
pub const CLOSED_RUNS: usize = 14;

/// The most bytes of a file of used nonces that are read: 63 mirages.
pub const NONCE_FILE_BYTES: u64 = 8_388_608;

/// The longest window, in seconds, in which one login a minute from one source does not use its share of
/// [`NONCES`] up: 170 minutes.
pub const LONG_PERIOD_S: u32 = (NONCES / NONCE_SHARES / LIVE_WINDOWS * 60) as u32;

/// The longest window, in seconds, for which tokens and datagrams may do without a state file: without one, nobody
/// gets in for two windows after each restart.
pub const FORGETFUL_PERIOD_S: u32 = 600;

/// Knocks of a rotating sequence by default.
pub const DEFAULT_KNOCKS: u8 = 3;

/// The most knocks of a rotating sequence. With six, guessing is hopeless even in the narrowest range.
pub const MAX_KNOCKS: usize = 6;

/// The most knocks of a fixed sequence.
pub const MAX_SEQUENCE: usize = 32;

/// How long after its first knock a sequence has to be complete, in seconds, by default.
pub const DEFAULT_SEQUENCE_S: u32 = 15;

/// The most sources in the middle of a sequence at one mirage: 140 KiB, fixed. They are counted by source and by
/// source and port, so it is twice as much. As many can be locked out: 36 KiB. Only a source that hits a first
/// knock is counted.
pub const KNOCKERS: usize = 1_024;

/// How long after the last knock of a sequence each of its knocks may be a retransmission, in ms. A SYN that
/// nobody answers is sent again after one second, and once more after three. It is at most half of the time
/// that the sequence opens, or a client that knocks again could not extend it.
pub const KNOCK_ECHO_MS: u64 = 4_000;

/// How long a ban lasts by default, in seconds.
pub const DEFAULT_BAN_S: u32 = 900;

/// How long an address that has passed a silent gate stays admitted by default, in seconds.
pub const DEFAULT_ADMITTED_S: u32 = 30;

/// How long a service on demand runs after its last use by default, in seconds.
pub const DEFAULT_SERVICE_S: u32 = 3_600;

/// How long a service on demand has to accept connections by default, in seconds.
pub const DEFAULT_READY_S: u32 = 10;

/// The most things that commands have open at once; each is a service, or an address at a mirage. Elements of
/// sets use the places that are left: when they end, they need no more than a line of the log.
pub const OPENINGS: usize = 256;

/// The most connections that wait for the command of their address; any further one is let go at once.
pub const GUESTS: usize = 4;

/// The pause after a command's first failure to close, in ms. Each further pause is twice as long.
pub const CLOSE_AGAIN_MS: u64 = 1_000;

/// The longest of these pauses, in ms.
pub const CLOSE_AGAIN_MOST_MS: u64 = 300_000;

/// How often a service that is starting is dialled for the visitors who wait, in ms.
pub const SERVICE_LOOK_MS: u64 = 100;

/// How often `shimmer knock` sends each knock or datagram.
pub const KNOCK_TIMES: usize = 2;

/// The pause between two knocks, in ms.
pub const KNOCK_PAUSE_MS: u64 = 100;

/// The most banned sources: 176 KiB, fixed.
pub const BANS: usize = 4_096;

/// How often the log may say that all of [`BANS`] or [`NONCES`] are taken, in ms.
pub const TELL_FULL_MS: u64 = 60_000;

/// Touches of traps that a source with a live session is forgiven: it may be a neighbour behind the same NAT.
pub const FORGIVEN_TOUCHES: usize = 2;

/// The most visitors that traps hold at once, or one eighth of the fd limit if that is less. If all of them
/// have sent tokens that are not judged yet, there are up to twice as many until the turn ends.
pub const TRAPS: usize = 256;

/// How long a trap holds a visitor by default, in seconds.
pub const DEFAULT_TRAP_S: u32 = 30;

/// Bytes that a trap reads and discards. Then it stops reading, and the sender's window closes.
pub const TRAP_DISCARD: usize = 65_536;

/// The assumed limit of descriptors if the kernel does not tell: Linux's own default.
pub const USUAL_DESCRIPTORS: usize = 1_024;

/// The most sessions by default, or a third of the fd limit if that is less.
pub const MAX_SESSIONS: usize = 1_024;

/// The largest limit of sessions that can be configured, in total and per source: a source has no more ports.
pub const MOST_SESSIONS: usize = 65_535;

/// The most sessions of one source by default.
pub const MAX_SESSIONS_PER_SOURCE: usize = 32;

/// The number of sources of which it is remembered at which address of 127/8 a service has seen them, for
/// `shimmer status`: 7 KiB.
pub const CLIENT_ADDRESSES: usize = 256;

/// How long a hidden service has to accept a dial, in ms.
pub const DIAL_MS: u64 = 10_000;

/// How long a connection is silent before the kernel asks whether its peer is still there, in seconds. Linux's
/// own default is two hours, and a laptop that lost power would keep its places for as long.
pub const KEEP_ALIVE_S: u32 = 300;

/// The pause between two of these questions, in seconds.
pub const KEEP_ALIVE_AGAIN_S: u32 = 60;

/// The questions without an answer that end a connection.
pub const KEEP_ALIVE_TIMES: u32 = 5;

/// How long sent bytes may stay without an acknowledgement, and others unsent because the peer's window is
/// closed, before the kernel ends a connection, in ms: as long as all questions of [`KEEP_ALIVE_S`] take.
pub const UNACKNOWLEDGED_MS: u32 = 600_000;

/// How long a client must have left something unanswered before its session may make room for another one of
/// its source, in ms. Lost packets and a change of the network take less.
pub const DEAD_MS: u64 = 15_000;

/// How long one peer has to receive what was sent before the other peer's reset, in ms.
pub const RESET_DRAIN_MS: u64 = 10_000;

/// How often to check whether that peer has received it, in ms.
pub const RESET_LOOK_MS: u64 = 50;

/// How long one dial of `shimmer connect` may take, in ms. A lost SYN is sent again after one second, and once
/// more after three. There are three dials at each address of a host.
pub const CONNECT_MS: u64 = 4_000;

/// Bytes of the buffer for small messages. The daemon has one; `shimmer connect` has one per direction.
pub const BUFFER: usize = 16_384;

/// After this many full [`BUFFER`]s in a row a direction is bulk.
pub const BULK_FILLS: u8 = 2;

/// The most pipes for bulk. A direction without a pipe still moves, by copying.
pub const PIPES: usize = 32;

/// The most pipes of one source once half of all are taken.
pub const PIPES_PER_SOURCE: usize = 4;

/// Bytes requested from one splice call.
pub const SPLICE: usize = 262_144;

/// Bytes that one direction may move in one turn, before the others have theirs.
pub const TURN_BYTES: usize = 524_288;

/// Connections that one listener may accept in one turn.
pub const TURN_ACCEPTS: usize = 32;

/// Packets that the sensor takes in one turn.
pub const TURN_PACKETS: u32 = 256;

/// Packets that the sensor takes in a second, and also at once after a silence. Further packets wait in the
/// kernel, which drops them when its buffer is full. So a flood costs no more than this.
pub const SENSED_PER_SECOND: u32 = 2_000;

/// How long the sensor waits after it has taken all that [`SENSED_PER_SECOND`] allows, in ms.
pub const SENSE_AGAIN_MS: u64 = 10;

/// The most port ranges that the sensor's filter can tell apart. With more it watches everything between the
/// lowest and the highest port. A 32-bit kernel has 10 KiB for a socket's filter, and a range takes 32 bytes.
pub const SENSED_RANGES: usize = 128;

/// The most of this host's networks of one IP version that the sensor's filter can tell apart. With more, what a
/// router passes on takes its part of [`SENSED_PER_SECOND`]. As IPv6 they take 320 instructions.
pub const SENSED_NETWORKS: usize = 32;

/// The most addresses that a door's listener admits. As IPv6 they take 600 instructions of a socket filter, and
/// the kernel accepts 4,096.
pub const ADMITTED: usize = 64;

/// The most connections that closing and changing ports may accept in one turn, in total. In a flood there are
/// thousands, and each costs a router half a millisecond.
pub const CLOSING_ACCEPTS: usize = 512;

/// Connections that the kernel queues for a listener until we accept them.
pub const BACKLOG: i32 = 128;

/// The same for a pool's only listener, which stands for a whole range.
pub const POOL_BACKLOG: i32 = 1_024;

/// Events taken from the kernel in one turn.
pub const EVENTS: usize = 256;

/// How long to wait after a port could not be bound or an accept found no memory, in ms.
pub const RETRY_MS: u64 = 1_000;

/// The most clients of the control socket at once. A further one takes the place of the oldest.
pub const ASKERS: usize = 4;

/// How long a client of the control socket has to ask and to receive the answer, in ms. The client waits as
/// long for the daemon to go on.
pub const ASK_MS: u64 = 5_000;

/// Bytes of a question at the control socket; a longer line is not a question.
pub const ASKED_BYTES: usize = 64;

/// Bytes of an answer that are made and sent in one turn.
pub const ANSWER_BYTES: usize = 4_096;

/// The shortest time between two writes of the state file, in ms.
pub const STATE_MS: u64 = 60_000;

/// The most bytes of a state file that are read; a full one has 300 KiB.
pub const STATE_BYTES: u64 = 1_048_576;

/// Bytes of a state file that are written at once.
pub const STATE_WRITE_BYTES: usize = 4_096;

/// The most bytes of a line in a state file.
pub const STATE_LINE_BYTES: usize = 128;

/// How long the daemon tries to close its doors before it ends, in ms. procd and systemd are asked to wait for
/// 12 s.
pub const STOP_MS: u64 = 8_000;

/// How long a command may go on opening something then, in ms. It is killed, and what is left is for the command that
/// closes it.
pub const STOP_OPENING_MS: u64 = 3_000;

/// The most commands that run at once.
pub const HOOKS: usize = 8;

/// The most commands that wait until others have ended.
pub const HOOKS_QUEUED: usize = 64;

/// How long a command may run, in ms. Then it is killed, with everything that it has started.
pub const HOOK_MS: u64 = 30_000;

/// Bytes that are kept of a command's last line.
pub const HOOK_LINE: usize = 200;

/// Bytes of a command's output that are read at once. More waits for [`HOOK_PAUSE_MS`], or a command that
/// prints for ever would keep the loop busy.
pub const HOOK_READ: usize = 65_536;

/// That pause, in ms.
pub const HOOK_PAUSE_MS: u64 = 100;

/// Commands that have ended but left something running that still has their output. We read on, or it would die
/// at its next line. The oldest is let go to make room for another.
pub const HOOKS_LEFT: usize = 16;

/// The most elements that wait to be added to the kernel's sets, and that a transaction has.
pub const NFT_QUEUED: usize = 256;

/// The most sets that a transaction changes, and whose form is remembered. With [`NFT_QUEUED`] it keeps a
/// transaction far below a socket's send buffer, and the answers below its receive buffer.
pub const NFT_SETS: usize = 32;

/// Bytes that are read of an answer of the kernel's. What matters stands at its beginning.
pub const NFT_ANSWER: usize = 4_096;

/// The most answers that are looked through for that to a request.
pub const NFT_ANSWERS: usize = 1_024;

/// How often we look whether others have changed the firewall, in ms.
pub const NFT_LOOK_MS: u64 = 1_000;

/// How long after a line about a door's set that is gone the log has the next about that door, in ms. Somebody may
/// take it away again and again.
pub const NFT_TOLD_MS: u64 = 60_000;

/// The pause after a set's first failure, in ms.
pub const NFT_PAUSE_MS: u64 = 1_000;

/// The longest pause after a set's failures, in ms; each pause is twice as long as the one before.
pub const NFT_LONGEST_PAUSE_MS: u64 = 60_000;

/// How long we try to take an element out of its set, in ms. By then the set has refused so often that the
/// element's own timeout has to do it.
pub const NFT_REMOVAL_MS: u64 = 60_000;

/// The most characters of a table's name and of a set's: half of what the kernel accepts.
pub const NFT_NAME: usize = 127;

/// The most lines that peers may cause in the log within [`LOG_WINDOW_MS`]; further ones are counted.
pub const LOG_LINES: u32 = 100;

/// The part of [`LOG_LINES`] that is reserved for visitors who reached the service.
pub const LOG_LINES_KEPT: u32 = 20;

/// The most lines that say who was let in beyond these, at the end of [`LOG_WINDOW_MS`]: one for each source. Only the
/// sources after that are counted without their names.
pub const LOG_ENTRIES: usize = 128;

/// The window of [`LOG_LINES`], in ms.
pub const LOG_WINDOW_MS: u64 = 10_000;

/// The most bytes of a line in the log; a longer one is cut. Below PIPE_BUF, so a line is written in one piece.
pub const LOG_LINE: usize = 512;

/// The longest ban, trap and idle time that can be configured, in seconds: a year.
pub const LONGEST_S: u32 = 31_536_000;

/// The most bytes of a configuration or secret file; a larger one is an error.
pub const CONFIG_BYTES: u64 = 1_048_576;

/// The fewest bytes of a secret that does not look weak.
pub const STRONG_SECRET_BYTES: usize = 16;

/// The fewest different bytes of a secret that does not look weak.
pub const STRONG_SECRET_VARIETY: usize = 8;

/// The most sessions and bans that `shimmer status` lists for a person: with the mirages, about a screen.
pub const STATUS_ROWS: usize = 10;
