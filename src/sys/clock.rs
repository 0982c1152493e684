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
pub use platform::{is_synchronised, now};

#[cfg(target_os = "linux")]
mod platform {
    use crate::scheme::{Instant, Now};

    /// Two clocks can't be read at once. A reading that took longer than this many milliseconds is
    /// taken again, or being stopped in the middle of it would look like a step of the clock.
    const SLOW_READING_MS: i64 = 5;

    /// What the boot clock starts with here, so that moments before the boot have a number too: a
    /// ban that a restart has brought back may have begun there.
    const BEFORE_BOOT_MS: u64 = 1 << 40;

    /// Readings until a slow one is believed.
    const READINGS: usize = 8;

    pub fn real_ms() -> i64 {
        read_ms(libc::CLOCK_REALTIME)
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Now {
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
        Now {
            boot: Instant(BEFORE_BOOT_MS + before.unsigned_abs()),
            real_ms,
        }
    }

    /// Room for any kernel's `struct timex`.
    const TIMEX_WORDS: usize = 64;

    /// Whether the kernel believes that somebody keeps its clock right (adjtimex(2), STA_UNSYNC).
    #[must_use]
    pub fn is_synchronised() -> bool {
        let mut timex = [0u64; TIMEX_WORDS];
        // SAFETY: all zeros is a timex whose modes make the call a read, and there is room for what
        // it fills in. Its answer says all that is asked, so no layout has to be known.
        let state = unsafe { libc::syscall(libc::SYS_adjtimex, timex.as_mut_ptr()) };
        state >= 0 && state != libc::c_long::from(libc::TIME_ERROR)
    }

    /// Sixty-four bits of seconds on every target (`struct __kernel_timespec`).
    #[cfg(target_pointer_width = "32")]
    #[repr(C)]
    struct Timespec64 {
        seconds: i64,
        nanoseconds: i64,
    }

    #[cfg(target_pointer_width = "32")]
    fn read_ms(clock: libc::clockid_t) -> i64 {
        let mut time = Timespec64 {
            seconds: 0,
            nanoseconds: 0,
        };
        // SAFETY: clock_gettime64 fills in the struct that it is given, which lives on this stack.
        let done = unsafe { libc::syscall(CLOCK_GETTIME64, clock, &raw mut time) };
        if done == 0 {
            return time.seconds * 1_000 + time.nanoseconds / 1_000_000;
        }
        // Kernels before 5.1 have the call of 32 bits only.
        let mut time = [0i32; 2];
        // SAFETY: clock_gettime fills in two words, which live on this stack. It can't fail for
        // clocks that every kernel since 2.6.39 has.
        unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time.as_mut_ptr()) };
        i64::from(time[0]) * 1_000 + i64::from(time[1]) / 1_000_000
    }

    /// The number of clock_gettime64 (uapi/asm/unistd.h); libc names it on some targets only.
    #[cfg(all(target_pointer_width = "32", target_arch = "mips"))]
    const CLOCK_GETTIME64: libc::c_long = 4_403;
    #[cfg(all(target_pointer_width = "32", not(target_arch = "mips")))]
    const CLOCK_GETTIME64: libc::c_long = 403;

    #[cfg(target_pointer_width = "64")]
    fn read_ms(clock: libc::clockid_t) -> i64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: clock_gettime fills in the struct that it is given, which lives on this stack. It
        // can't fail for clocks that every kernel since 2.6.39 has.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
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
