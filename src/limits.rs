//! Every bound and every time-out, in one place: its name, its unit, and why it is what it is.
//!
//! A peer can make Shimmer reach a bound, never pass one. "Full" is a normal answer everywhere.

/// Rounds of PBKDF2 between a secret and its key. A scan of one minute's ports is an offline
/// verifier of the secret; this is what each guess costs. Part of the scheme: never changes.
pub const STRETCH_ROUNDS: u32 = 131_072;

/// Rounds stretched in one turn of the daemon's loop: 30 ms on a 580 MHz MIPS, so that no session
/// waits over 50 ms while a reload computes keys.
pub const STRETCH_ROUNDS_PER_TURN: u32 = 1_024;

/// Windows open at once: the last minute, this one and the next.
pub const LIVE_WINDOWS: usize = 3;

/// Windows on either side of the live ones whose real ports ban nobody: a clock may be two minutes off.
pub const GRACE_WINDOWS: u64 = 2;

/// Windows on either side of this one that `clock-off=` looks at.
pub const CLOCK_OFF_WINDOWS: u64 = 15;

/// Most decoys a minute may have; the default is [`DEFAULT_DECOYS`].
pub const MAX_DECOYS: u8 = 63;

/// Decoys of a minute unless configured.
pub const DEFAULT_DECOYS: u8 = 15;

/// Most ports of one minute: the real one and its decoys.
pub const MINUTE_PORTS: usize = MAX_DECOYS as usize + 1;

/// Most ports a mirage has open at once.
pub const PLAN_PORTS: usize = LIVE_WINDOWS * MINUTE_PORTS;

/// The daemon wants this many times a minute's ports in its range, so that three windows fit without crowding.
pub const RANGE_FACTOR: u32 = 3;

/// Ports below this one are for root, or for who has CAP_NET_BIND_SERVICE (capabilities(7)).
pub const PRIVILEGED_PORTS: u16 = 1_024;

/// Seconds of a window unless configured, and the shortest and longest it may be.
pub const DEFAULT_PERIOD_S: u32 = 60;
/// Shortest window in seconds: below it, a dial may not finish before its port is gone.
pub const MIN_PERIOD_S: u32 = 2;
/// Longest window in seconds: a day.
pub const MAX_PERIOD_S: u32 = 86_400;

/// A window that was served and left is not served again for so long, in milliseconds of the boot
/// clock: a clock that is set back brings no port back that somebody has seen.
pub const SERVED_MEMORY_MS: u64 = 600_000;

/// Stretches of windows served and left that are remembered. Each jump of the clock starts three,
/// for it leaves three windows at once.
pub const SERVED_RUNS: usize = 48;

/// The first second of the release's month, UTC. A clock before it is a router's that has no battery.
pub const RELEASE_UNIX: u64 = 1_793_491_200; // 2026-11-01T00:00:00Z

/// The real clock's distance to the boot clock has to change by so many milliseconds to be a step.
pub const CLOCK_STEP_MS: i64 = 1_000;

/// While the clock keeps every port closed, the log repeats it this often, in milliseconds.
pub const CLOCK_REMINDER_MS: u64 = 3_600_000;

/// How often a clock that is waited for is looked at, in milliseconds.
pub const CLOCK_CHECK_MS: u64 = 60_000;

/// A token counts within so many milliseconds of the handshake.
pub const TOKEN_MS: u64 = 3_000;

/// Shortest time in seconds that a trap may hold a visitor at gate = token: past [`TOKEN_MS`], or its
/// end would tell who was judged by then.
pub const MIN_TOKEN_TRAP_S: u32 = 4;

/// Good tokens that one mirage remembers, so that none counts twice: 96 KiB. With windows of a minute
/// that is 315 logins a minute, for a token is remembered for 13.
pub const NONCES: usize = 4_096;

/// Knocks of a rotating sequence unless configured.
pub const DEFAULT_KNOCKS: u8 = 3;

/// Most knocks of a rotating sequence: with six a guess of all is hopeless in the narrowest range.
pub const MAX_KNOCKS: usize = 6;

/// Most knocks of a fixed sequence.
pub const MAX_SEQUENCE: usize = 32;

/// Seconds from its first knock within which a sequence has to be complete, unless configured.
pub const DEFAULT_SEQUENCE_S: u32 = 15;

/// Sources that may be in the middle of a sequence at one mirage: 140 KiB, fixed. As many may be locked
/// out: 36 KiB. Only who hits a first knock is among them.
pub const KNOCKERS: usize = 1_024;

/// For so many milliseconds after the last knock of a sequence, each of its knocks may be the network's
/// echo: a SYN that nobody answers is sent again after one second, and once more after three. But for half
/// of the time that it opens at most, or who knocks again would not be let in for longer.
pub const KNOCK_ECHO_MS: u64 = 4_000;

/// Seconds a ban lasts unless configured.
pub const DEFAULT_BAN_S: u32 = 900;

/// Seconds for which whoever has passed a silent gate stays let in, unless configured.
pub const DEFAULT_ADMITTED_S: u32 = 30;

/// Seconds after its last use for which a service on demand runs on, unless configured.
pub const DEFAULT_SERVICE_S: u32 = 3_600;

/// Seconds in which a service on demand has to accept connections, unless configured.
pub const DEFAULT_READY_S: u32 = 10;

/// What commands can have open at once; each is a service, or an address at a mirage. Elements of sets
/// have the places that are left, for they need nothing but a line of the log when they end.
pub const OPENINGS: usize = 256;

/// Connections that wait until a command has opened for their address; the next is let go at once.
pub const GUESTS: usize = 4;

/// A command that failed to close is tried again after so many milliseconds, then after twice as many.
pub const CLOSE_AGAIN_MS: u64 = 1_000;

/// The longest of those pauses, in milliseconds.
pub const CLOSE_AGAIN_MOST_MS: u64 = 300_000;

/// How often, in milliseconds, a service that is being started is dialled for those who wait.
pub const SERVICE_LOOK_MS: u64 = 100;

/// Each knock of `shimmer knock` is sent so often, and as many datagrams.
pub const KNOCK_TIMES: usize = 2;

/// Milliseconds between one knock and the next.
pub const KNOCK_PAUSE_MS: u64 = 100;

/// Sources that can be banned at once: 176 KiB, fixed.
pub const BANS: usize = 4_096;

/// The log says at most once in so many milliseconds that all of [`BANS`], or of [`NONCES`], are taken.
pub const TELL_FULL_MS: u64 = 60_000;

/// Touches of traps that a source with a live session is forgiven: a neighbour behind the same NAT.
pub const FORGIVEN_TOUCHES: u8 = 2;

/// Visitors that traps hold at once, at most; one eighth of the fd limit if that is less. Where all have
/// said a token that is not judged yet, there are more until the turn's end, twice as many at most.
pub const TRAPS: usize = 256;

/// Seconds that a trap holds a visitor unless configured.
pub const DEFAULT_TRAP_S: u32 = 30;

/// Bytes that a trap reads and throws away; then it reads no more and the sender's window closes.
pub const TRAP_DISCARD: usize = 65_536;

/// Descriptors that a process may have where the kernel does not say: Linux's own default.
pub const USUAL_DESCRIPTORS: usize = 1_024;

/// Sessions at once unless configured; a third of the fd limit if that is less.
pub const MAX_SESSIONS: usize = 1_024;

/// Most sessions that can be configured, for all and for one source, which has no more ports.
pub const MOST_SESSIONS: usize = 65_535;

/// Sessions of one source at once unless configured.
pub const MAX_SESSIONS_PER_SOURCE: usize = 32;

/// A hidden service has to take the dial within so many milliseconds.
pub const DIAL_MS: u64 = 10_000;

/// After one peer has reset, the other has so many milliseconds to take what was sent before.
pub const RESET_DRAIN_MS: u64 = 10_000;

/// How often, in milliseconds, it is looked at whether the other has taken it.
pub const RESET_LOOK_MS: u64 = 50;

/// A dial of `shimmer connect` has so many milliseconds: a SYN that is lost is sent again after one
/// second, and once more after three. There are three dials at each of a name's addresses.
pub const CONNECT_MS: u64 = 4_000;

/// The buffer through which small messages go, one for the process, in bytes; `shimmer connect` has
/// one for each way.
pub const BUFFER: usize = 16_384;

/// Fillings of the [`BUFFER`] in a row after which a direction is bulk.
pub const BULK_FILLS: u8 = 2;

/// Pipes for bulk at once. A direction without one still moves, by copying.
pub const PIPES: usize = 32;

/// Pipes that one source may hold once half of all are taken.
pub const PIPES_PER_SOURCE: usize = 4;

/// Bytes asked of one splice call.
pub const SPLICE: usize = 262_144;

/// Bytes that one direction may move in one turn; then the others have theirs.
pub const TURN_BYTES: usize = 524_288;

/// Connections that one listener may accept in one turn.
pub const TURN_ACCEPTS: usize = 32;

/// Packets that the sensor takes in one turn.
pub const TURN_PACKETS: u32 = 256;

/// Packets that the sensor takes in a second, and at once after a silence. What is more waits in the
/// kernel, which drops what has no room: a flood costs no more than this.
pub const SENSED_PER_SECOND: u32 = 2_000;

/// After it has taken all that [`SENSED_PER_SECOND`] allows, the sensor looks again after so many
/// milliseconds.
pub const SENSE_AGAIN_MS: u64 = 10;

/// Ranges of ports that the sensor's filter tells apart; of more it watches all between the lowest port
/// and the highest. A 32-bit kernel has 10 KiB for a socket's filter, a range takes 32 bytes.
pub const SENSED_RANGES: usize = 128;

/// Addresses that a door's listener lets through at once. As IPv6 they are 600 instructions of a socket
/// filter, of which the kernel takes 4,096.
pub const ADMITTED: usize = 64;

/// Connections that ports which close, or change what they are, may accept in one turn, all together: in a
/// flood there are thousands, each of which costs a router half a millisecond.
pub const CLOSING_ACCEPTS: usize = 512;

/// Connections that the kernel keeps for a listener until we accept them.
pub const BACKLOG: i32 = 128;

/// The same for a pool's one listener, which stands for a whole range.
pub const POOL_BACKLOG: i32 = 1_024;

/// Events taken from the kernel in one turn.
pub const EVENTS: usize = 256;

/// A port that could not be bound, and an accept that found no memory, are tried again after so many milliseconds.
pub const RETRY_MS: u64 = 1_000;

/// Clients of the control socket at once; the next takes the place of the first.
pub const ASKERS: usize = 4;

/// A client of the control socket has so many milliseconds to ask and to be told, and waits as long for
/// the daemon to say more.
pub const ASK_MS: u64 = 5_000;

/// Bytes of a line that the control socket is asked; more is no question.
pub const ASKED_BYTES: usize = 64;

/// Bytes of an answer that are made and sent in one turn.
pub const ANSWER_BYTES: usize = 4_096;

/// The state file is written at most this often, in milliseconds.
pub const STATE_MS: u64 = 60_000;

/// Bytes of a state file that are read; a full one has 300 KiB.
pub const STATE_BYTES: u64 = 1_048_576;

/// Bytes of a state file that are written at once.
pub const STATE_WRITE_BYTES: usize = 4_096;

/// No line of a state file has more bytes.
pub const STATE_LINE_BYTES: usize = 128;

/// Commands that run at once.
pub const HOOKS: usize = 8;

/// Commands that wait until others have ended.
pub const HOOKS_QUEUED: usize = 64;

/// A command that runs for so many milliseconds is killed, and all that it has started.
pub const HOOK_MS: u64 = 30_000;

/// Bytes of a command's last line that are kept.
pub const HOOK_LINE: usize = 200;

/// Bytes of its output that are read at once. Whoever writes more waits for [`HOOK_PAUSE_MS`], or a
/// command that prints for ever would keep the loop busy.
pub const HOOK_READ: usize = 65_536;

/// Milliseconds of that pause.
pub const HOOK_PAUSE_MS: u64 = 100;

/// Commands that have ended and left something running that still has their output: we go on reading
/// it, or it would die of its next line. The oldest is let go for one more.
pub const HOOKS_LEFT: usize = 16;

/// Elements of the kernel's sets that wait to be added.
pub const NFT_QUEUED: usize = 256;

/// Bytes of a batch for nft: what the smallest pipe takes at once, so that no batch waits for its reader.
pub const NFT_BATCH: usize = 4_096;

/// A run of nft that takes so many milliseconds is killed.
pub const NFT_MS: u64 = 10_000;

/// Milliseconds from one run of nft to the next, and from a set's first failure to the next try.
pub const NFT_PAUSE_MS: u64 = 1_000;

/// The longest pause after a set's failures in milliseconds; each is twice as long as the one before.
pub const NFT_LONGEST_PAUSE_MS: u64 = 60_000;

/// Milliseconds after which nft is no longer asked to take an element out of its set: so many times has it
/// failed by then that the element's own time has to do it.
pub const NFT_REMOVAL_MS: u64 = 60_000;

/// Letters of a table's name and of a set's: half of what the kernel takes, so that an element's lines
/// fit into [`NFT_BATCH`].
pub const NFT_NAME: usize = 127;

/// Lines that peers may cause in the log in one [`LOG_WINDOW_MS`]; the rest are counted.
pub const LOG_LINES: u32 = 100;

/// Of [`LOG_LINES`], those kept for visitors who reached the service.
pub const LOG_LINES_KEPT: u32 = 20;

/// The window of [`LOG_LINES`] in milliseconds.
pub const LOG_WINDOW_MS: u64 = 10_000;

/// The longest line of the log, in bytes; what is longer is cut. Below PIPE_BUF, so a line goes out whole.
pub const LOG_LINE: usize = 512;

/// The longest ban, trap and idle time that can be configured, in seconds: a year.
pub const LONGEST_S: u32 = 31_536_000;

/// Bytes of a configuration or secret file that are read; more is an error.
pub const CONFIG_BYTES: u64 = 1_048_576;

/// Shortest secret, in bytes, that does not look weak.
pub const STRONG_SECRET_BYTES: usize = 16;

/// Fewest different bytes in a secret that does not look weak.
pub const STRONG_SECRET_VARIETY: usize = 8;

/// Sessions and bans that `shimmer status` shows to a person: with the mirages, a screen or so.
pub const STATUS_ROWS: usize = 10;
