//! The clocks, after 2038 and on 32-bit routers too.
//!
//! With musl on 32 bits, libc's `time_t` has 32 bits, and `SystemTime::now()` will panic once they overflow. So on
//! Linux the kernel's call for 64 bits is made here.

/// Seconds since 1970 in UTC; 0 before that.
#[must_use]
pub fn unix() -> u64 {
    u64::try_from(real_ms()).unwrap_or(0) / 1_000
}

#[cfg(all(target_os = "linux", target_pointer_width = "32"))]
pub(super) use platform::CLOCK_GETTIME64;
pub use platform::real_ms;
#[cfg(target_os = "linux")]
pub use platform::{Clocks, is_synchronised, now};

#[cfg(target_os = "linux")]
mod platform {
    /// Two clocks can't be read at the same moment. If reading both took longer than this, they are read again:
    /// a pause in between would look like a step of the clock. In ms.
    const SLOW_READING_MS: i64 = 5;

    /// After this many readings even a slow one counts.
    const READINGS: usize = 8;

    /// Both clocks at one moment.
    #[derive(Clone, Copy, Debug)]
    pub struct Clocks {
        /// Milliseconds since the machine was started, sleep included (CLOCK_BOOTTIME).
        pub boot_ms: u64,
        /// Milliseconds since 1970 in UTC, negative before it.
        pub real_ms: i64,
    }

    /// Milliseconds since 1970 in UTC, negative before it.
    #[must_use]
    pub fn real_ms() -> i64 {
        read_ms(libc::CLOCK_REALTIME)
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Clocks {
        let mut before = read_ms(libc::CLOCK_BOOTTIME);
        let mut real_ms = real_ms();
        for _ in 1..READINGS {
            let after = read_ms(libc::CLOCK_BOOTTIME);
            if after - before <= SLOW_READING_MS {
                break;
            }
            before = after;
            real_ms = self::real_ms();
        }
        Clocks {
            boot_ms: before.unsigned_abs(),
            real_ms,
        }
    }

    /// 64-bit words that hold any kernel's `struct timex`.
    const TIMEX_WORDS: usize = 64;

    /// Whether a time service has set the kernel's clock (adjtimex(2), TIME_ERROR).
    ///
    /// It makes the kernel's call, whose return value is all that is needed: the struct's layout does not matter,
    /// on which libc and musl do not agree on 32 bits. rustix and nix have no adjtimex.
    #[must_use]
    pub fn is_synchronised() -> bool {
        let mut timex = [0u64; TIMEX_WORDS];
        // SAFETY: `timex` is at least as long as the struct that the call writes. All zeros ask for no change.
        let state = unsafe { libc::syscall(libc::SYS_adjtimex, timex.as_mut_ptr()) };
        state >= 0 && state != libc::c_long::from(libc::TIME_ERROR)
    }

    /// The number of clock_gettime64 (uapi/asm/unistd.h).
    #[cfg(target_pointer_width = "32")]
    pub const CLOCK_GETTIME64: libc::c_long = if cfg!(target_arch = "mips") {
        4_403
    } else {
        403
    };

    /// A clock in ms, by the kernel's call: musl's has 32 bits. libc has its number for some targets only, and
    /// rustix 1.1 casts the struct to musl's on mips.
    #[cfg(target_pointer_width = "32")]
    fn read_ms(clock: libc::clockid_t) -> i64 {
        // Seconds and nanoseconds (struct __kernel_timespec).
        let mut time = [0i64; 2];
        // SAFETY: the call writes two numbers of 64 bits, to `time`.
        let done = unsafe { libc::syscall(CLOCK_GETTIME64, clock, time.as_mut_ptr()) };
        if done == 0 {
            return time[0] * 1_000 + time[1] / 1_000_000;
        }
        // Kernels before 5.1 have only the call for 32 bits.
        libc_ms(clock)
    }

    #[cfg(target_pointer_width = "64")]
    fn read_ms(clock: libc::clockid_t) -> i64 {
        libc_ms(clock)
    }

    /// A clock in ms, by the C library.
    #[allow(clippy::unnecessary_cast, reason = "its numbers have 32 bits on mips")]
    fn libc_ms(clock: libc::clockid_t) -> i64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // It can't fail: every kernel since 2.6.39 has these clocks.
        // SAFETY: the call writes one timespec, to `time`.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        time.tv_sec as i64 * 1_000 + time.tv_nsec as i64 / 1_000_000
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    /// Milliseconds since 1970 in UTC, negative before it.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "no 32-bit musl here")]
    pub fn real_ms() -> i64 {
        use std::time::{SystemTime, UNIX_EPOCH};
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        }
    }
}
