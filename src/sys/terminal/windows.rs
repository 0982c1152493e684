//! By the console's functions (learn.microsoft.com, "Console Functions").

use core::ptr::null;
use std::fs::File;
use std::io::{self, Write};
use std::os::windows::io::AsRawHandle;
use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, ENABLE_ECHO_INPUT, ENABLE_LINE_INPUT, ENABLE_PROCESSED_INPUT, GetConsoleMode,
    ReadConsoleW, SetConsoleCtrlHandler, SetConsoleMode,
};

/// The keyboard and the screen.
pub fn open() -> io::Result<(File, File)> {
    // The console changes its mode only for a handle that may write.
    let keyboard = File::options().read(true).write(true).open("CONIN$")?;
    let screen = File::options().read(true).write(true).open("CONOUT$")?;
    Ok((keyboard, screen))
}

pub fn ask(keyboard: &File, mut screen: &File, question: &str) -> io::Result<Vec<u8>> {
    // Dropped in the reverse order: the echo is on again before Ctrl-C may end the process.
    let _ignored = CtrlCIgnored::begin()?;
    let echo_off = EchoOff::begin(keyboard)?;
    screen.write_all(question.as_bytes())?;
    let line = read_line(keyboard);
    drop(echo_off);
    screen.write_all(b"\r\n")?;
    line
}

fn read_line(console: &File) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(&[u16::from(b'\n')]) {
        let mut buffer = [0; 256];
        match read(console, &mut buffer)? {
            // Ctrl-C was pressed.
            0 => return Err(io::ErrorKind::Interrupted.into()),
            count => line.extend_from_slice(&buffer[..count]),
        }
    }
    let line = String::from_utf16(&line).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(line.trim_end_matches(['\r', '\n']).as_bytes().to_vec())
}

fn read(console: &File, buffer: &mut [u16]) -> io::Result<usize> {
    let mut count = 0;
    // SAFETY: `buffer` has room for as many units as the call is told, `count` outlives the call, and a null
    // control is allowed.
    check(unsafe {
        ReadConsoleW(
            console.as_raw_handle(),
            buffer.as_mut_ptr().cast(),
            buffer.len() as u32,
            &raw mut count,
            null(),
        )
    })?;
    Ok(count as usize)
}

/// Switches the echo off until it is dropped.
struct EchoOff<'a> {
    console: &'a File,
    before: CONSOLE_MODE,
}

impl<'a> EchoOff<'a> {
    fn begin(console: &'a File) -> io::Result<Self> {
        let mut before = 0;
        // SAFETY: the call writes one number, to `before`, which outlives the call.
        check(unsafe { GetConsoleMode(console.as_raw_handle(), &raw mut before) })?;
        let lines = ENABLE_LINE_INPUT | ENABLE_PROCESSED_INPUT;
        set_mode(console, before & !ENABLE_ECHO_INPUT | lines)?;
        Ok(Self { console, before })
    }
}

impl Drop for EchoOff<'_> {
    fn drop(&mut self) {
        // It fails only if the console has gone.
        let _ = set_mode(self.console, self.before);
    }
}

fn set_mode(console: &File, mode: CONSOLE_MODE) -> io::Result<()> {
    // SAFETY: the call takes no pointer, and the handle is open as long as `console` is borrowed.
    check(unsafe { SetConsoleMode(console.as_raw_handle(), mode) })
}

/// Makes Ctrl-C end the reading of a line instead of the process, until it is dropped.
struct CtrlCIgnored;

impl CtrlCIgnored {
    fn begin() -> io::Result<Self> {
        // SAFETY: no handler is installed, so no code of ours is called. None and 1 stand for "ignore Ctrl-C".
        check(unsafe { SetConsoleCtrlHandler(None, 1) })?;
        Ok(Self)
    }
}

impl Drop for CtrlCIgnored {
    fn drop(&mut self) {
        // SAFETY: no handler is installed, so no code of ours is called. None and 0 end what `begin` did.
        unsafe { SetConsoleCtrlHandler(None, 0) };
    }
}

fn check(succeeded: i32) -> io::Result<()> {
    match succeeded {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
