//! What time it is, after 2038 and on 32-bit routers too.
//!
//! libc's `time_t` has 32 bits on 32-bit musl, and `SystemTime::now()` panics there once they are
//! used up. So on Linux the kernel is asked for 64 bits itself.

/// Seconds since 1970 in UTC.
#[must_use]
pub fn unix() -> u64 {
    u64::try_from(real_ms()).unwrap_or(0) / 1_000
}

/// Milliseconds since 1970 in UTC, negative before it.
#[must_use]
pub fn real_ms() -> i64 {
    platform::real_ms()
}

#[cfg(target_os = "linux")]
pub use platform::{Clocks, is_synchronised, now};

#[cfg(target_os = "linux")]
mod platform {
    /// Two clocks can't be read at once. A reading that took longer than this is
    /// taken again, or being stopped in the middle of it would look like a step of the clock. In ms.
    const SLOW_READING_MS: i64 = 5;

    /// Readings until a slow one is believed.
    const READINGS: usize = 8;

    /// What both clocks showed at one moment.
    #[derive(Clone, Copy, Debug)]
    pub struct Clocks {
        /// Milliseconds since the machine was started, sleep included (CLOCK_BOOTTIME).
        pub boot_ms: u64,
        /// Milliseconds since 1970 in UTC, negative before it.
        pub real_ms: i64,
    }

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

    /// Room for any kernel's `struct timex`, and for any C library's.
    const TIMEX_WORDS: usize = 64;

    /// Whether the kernel believes that somebody keeps its clock right (adjtimex(2), STA_UNSYNC).
    ///
    /// By the kernel's own call: its answer says all that is asked, so no layout has to be known, and libc and
    /// musl do not agree on one on 32 bits. rustix and nix have no adjtimex.
    #[must_use]
    pub fn is_synchronised() -> bool {
        let mut timex = [0u64; TIMEX_WORDS];
        // SAFETY: all zeros is a timex whose modes make the call a read, and there is room for what
        // it fills in.
        let state = unsafe { libc::syscall(libc::SYS_adjtimex, timex.as_mut_ptr()) };
        state >= 0 && state != libc::c_long::from(libc::TIME_ERROR)
    }

    /// The C library's call has 32 bits with musl, and libc has the number of the kernel's for some targets
    /// only. (rustix 1.1 can't be used: on mips it takes the C library's struct for one with 64 bits.)
    #[cfg(target_pointer_width = "32")]
    fn read_ms(clock: libc::clockid_t) -> i64 {
        /// The number of clock_gettime64 (uapi/asm/unistd.h).
        const CLOCK_GETTIME64: libc::c_long = if cfg!(target_arch = "mips") {
            4_403
        } else {
            403
        };
        // Seconds and nanoseconds (struct __kernel_timespec).
        let mut time = [0i64; 2];
        // SAFETY: the call fills in the two numbers that it is given.
        let done = unsafe { libc::syscall(CLOCK_GETTIME64, clock, time.as_mut_ptr()) };
        if done == 0 {
            return time[0] * 1_000 + time[1] / 1_000_000;
        }
        // Kernels before 5.1 have the call of 32 bits only.
        usual_ms(clock)
    }

    #[cfg(target_pointer_width = "64")]
    fn read_ms(clock: libc::clockid_t) -> i64 {
        usual_ms(clock)
    }

    /// What the C library says.
    #[allow(clippy::unnecessary_cast, reason = "its numbers have 32 bits on mips")]
    fn usual_ms(clock: libc::clockid_t) -> i64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call fills in the struct that it is given. It can't fail for clocks that every
        // kernel since 2.6.39 has.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        time.tv_sec as i64 * 1_000 + time.tv_nsec as i64 / 1_000_000
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    #[allow(clippy::disallowed_methods, reason = "no 32-bit musl here")]
    pub fn real_ms() -> i64 {
        use std::time::{SystemTime, UNIX_EPOCH};
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        }
    }
}
