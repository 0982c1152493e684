//! Asking a person for a secret without showing it.
//!
//! The terminal is asked itself, not stdin and stdout: in `ssh -p "$(shimmer port home)"` stdout is
//! the shell's. However the question ends, the terminal shows again what is typed.

use std::fs::File;
use std::io;

/// The terminal that this process was started from.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    screen: File,
}

impl Terminal {
    /// Opens it.
    ///
    /// # Errors
    /// There is none, as under cron.
    pub fn open() -> io::Result<Self> {
        platform::open()
    }

    /// Asks a question and reads a line, which stays invisible; the line end is not part of it.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the terminal was closed or the person typed an end of
    /// file, [`io::ErrorKind::Interrupted`] if they gave up (on unix the signal ends us instead).
    pub fn ask(&mut self, question: &str) -> io::Result<Vec<u8>> {
        platform::ask(self, question)
    }
}

#[cfg(unix)]
mod platform {
    use super::super::signal_set::SignalSet;
    use super::Terminal;
    use core::time::Duration;
    use libc::c_int;
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use std::fs::{File, OpenOptions};
    use std::io::{self, Read, Write};
    use std::os::unix::fs::OpenOptionsExt;
    use std::thread;

    const PATH: &str = "/dev/tty";

    /// The signals of a terminal, and the polite one of kill(1).
    const SIGNALS: [c_int; 5] = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGTSTP,
    ];

    /// How often the keyboard and the signals are looked at. macOS can't poll(2) a terminal, and a
    /// read that waits would not see a signal that is held.
    const LOOK_PAUSE: Duration = Duration::from_millis(50);

    pub fn open() -> io::Result<Terminal> {
        let mut options = OpenOptions::new();
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let keyboard = options.read(true).custom_flags(flags).open(PATH)?;
        let screen = OpenOptions::new().write(true).open(PATH)?;
        Ok(Terminal { keyboard, screen })
    }

    pub fn ask(terminal: &mut Terminal, question: &str) -> io::Result<Vec<u8>> {
        loop {
            if let Some(line) = ask_once(terminal, question)? {
                return Ok(line);
            }
            // The signal that came meanwhile took effect at the end of that: who is here was
            // stopped and goes on, and has to be asked again.
        }
    }

    /// None if a signal has come.
    fn ask_once(terminal: &mut Terminal, question: &str) -> io::Result<Option<Vec<u8>>> {
        // Dropped in the reverse order: first the echo is back, then the signals may strike.
        let signals = HeldSignals::hold()?;
        let silence = Silence::begin(&terminal.keyboard)?;
        terminal.screen.write_all(question.as_bytes())?;
        let line = read_line(&terminal.keyboard, &signals);
        drop(silence);
        // The line end that was typed was invisible too.
        terminal.screen.write_all(b"\n")?;
        line
    }

    fn read_line(mut keyboard: &File, signals: &HeldSignals) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut buffer = [0; 256];
        loop {
            match keyboard.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => line.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if signals.has_come() {
                        return Ok(None);
                    }
                    thread::sleep(LOOK_PAUSE);
                }
                Err(error) => return Err(error),
            }
            if line.pop_if(|byte| *byte == b'\n').is_some() {
                return Ok(Some(line));
            }
        }
    }

    /// While it lives, the terminal does not show what is typed.
    struct Silence<'a> {
        terminal: &'a File,
        before: Termios,
    }

    impl<'a> Silence<'a> {
        fn begin(terminal: &'a File) -> io::Result<Self> {
            let before = tcgetattr(terminal)?;
            let mut silent = before.clone();
            silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
            silent.local_modes |= LocalModes::ICANON | LocalModes::ISIG;
            // What was typed before the question, and shown, does not answer it: flushed.
            tcsetattr(terminal, OptionalActions::Flush, &silent)?;
            Ok(Self { terminal, before })
        }
    }

    impl Drop for Silence<'_> {
        fn drop(&mut self) {
            // A terminal that is gone shows nothing.
            let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
        }
    }

    /// While it lives, [`SIGNALS`] wait.
    struct HeldSignals {
        before: SignalSet,
    }

    impl HeldSignals {
        fn hold() -> io::Result<Self> {
            let before = SignalSet::of(&SIGNALS).block()?;
            Ok(Self { before })
        }

        /// Whether one of them waits.
        fn has_come(&self) -> bool {
            let pending = SignalSet::pending();
            SIGNALS.iter().any(|&signal| pending.contains(signal))
        }
    }

    impl Drop for HeldSignals {
        fn drop(&mut self) {
            // It is the mask that was, so it can't be refused.
            let _ = self.before.set_mask();
        }
    }
}

#[cfg(windows)]
mod platform {
    use super::Terminal;
    use core::ffi::c_void;
    use core::ptr::null;
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::windows::io::{AsRawHandle, RawHandle};

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetConsoleMode(console: RawHandle, mode: *mut u32) -> i32;
        fn SetConsoleMode(console: RawHandle, mode: u32) -> i32;
        fn ReadConsoleW(
            console: RawHandle,
            buffer: *mut u16,
            room: u32,
            count: *mut u32,
            control: *const c_void,
        ) -> i32;
        fn SetConsoleCtrlHandler(handler: *const c_void, add: i32) -> i32;
    }

    const ENABLE_PROCESSED_INPUT: u32 = 1;
    const ENABLE_LINE_INPUT: u32 = 2;
    const ENABLE_ECHO_INPUT: u32 = 4;

    pub fn open() -> io::Result<Terminal> {
        // Without the right to write, the console refuses to change its mode.
        let keyboard = File::options().read(true).write(true).open("CONIN$")?;
        let screen = File::options().read(true).write(true).open("CONOUT$")?;
        Ok(Terminal { keyboard, screen })
    }

    pub fn ask(terminal: &mut Terminal, question: &str) -> io::Result<Vec<u8>> {
        // Dropped in the reverse order: first the echo is back, then Ctrl-C ends us again.
        let _calm = Calm::begin()?;
        let silence = Silence::begin(&terminal.keyboard)?;
        terminal.screen.write_all(question.as_bytes())?;
        let line = read_line(&terminal.keyboard);
        drop(silence);
        terminal.screen.write_all(b"\r\n")?;
        line
    }

    fn read_line(console: &File) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(&[u16::from(b'\n')]) {
            let mut buffer = [0; 256];
            match read(console, &mut buffer)? {
                // So the console says that Ctrl-C was pressed.
                0 => return Err(io::ErrorKind::Interrupted.into()),
                count => line.extend_from_slice(&buffer[..count]),
            }
        }
        let line = String::from_utf16(&line).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(line.trim_end_matches(['\r', '\n']).as_bytes().to_vec())
    }

    fn read(console: &File, buffer: &mut [u16]) -> io::Result<usize> {
        let mut count = 0;
        // SAFETY: the buffer has room for as many units as the call is told, the count lives on
        // this stack, and null asks for no extras.
        check(unsafe {
            ReadConsoleW(
                console.as_raw_handle(),
                buffer.as_mut_ptr(),
                buffer.len() as u32,
                &raw mut count,
                null(),
            )
        })?;
        Ok(count as usize)
    }

    /// While it lives, the console does not show what is typed.
    struct Silence<'a> {
        console: &'a File,
        before: u32,
    }

    impl<'a> Silence<'a> {
        fn begin(console: &'a File) -> io::Result<Self> {
            let before = mode(console)?;
            let lines = ENABLE_LINE_INPUT | ENABLE_PROCESSED_INPUT;
            set_mode(console, before & !ENABLE_ECHO_INPUT | lines)?;
            Ok(Self { console, before })
        }
    }

    impl Drop for Silence<'_> {
        fn drop(&mut self) {
            // A console that is gone shows nothing.
            let _ = set_mode(self.console, self.before);
        }
    }

    fn mode(console: &File) -> io::Result<u32> {
        let mut mode = 0;
        // SAFETY: the call only writes the number that it is given, which lives on this stack.
        check(unsafe { GetConsoleMode(console.as_raw_handle(), &raw mut mode) })?;
        Ok(mode)
    }

    fn set_mode(console: &File, mode: u32) -> io::Result<()> {
        // SAFETY: the handle is open for as long as the file lives; no memory is passed.
        check(unsafe { SetConsoleMode(console.as_raw_handle(), mode) })
    }

    /// While it lives, Ctrl-C ends the reading of a line, not the process.
    struct Calm;

    impl Calm {
        fn begin() -> io::Result<Self> {
            // SAFETY: null stands for "ignore Ctrl-C"; no memory is passed.
            check(unsafe { SetConsoleCtrlHandler(null(), 1) })?;
            Ok(Self)
        }
    }

    impl Drop for Calm {
        fn drop(&mut self) {
            // SAFETY: null stands for "ignore Ctrl-C", which 0 takes back; no memory is passed.
            unsafe { SetConsoleCtrlHandler(null(), 0) };
        }
    }

    fn check(succeeded: i32) -> io::Result<()> {
        match succeeded {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}
