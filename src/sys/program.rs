//! A program with its words, as execve(2) takes them: for what becomes another program, and for what
//! starts one.

use core::ffi::c_char;
use core::ptr;
use std::io;

/// What is to be run. All of its memory is there before it runs: between clone(2) and execve(2) nothing
/// may be allocated.
pub struct Program {
    /// Each with a NUL behind it.
    paths: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    arguments: Vec<*const c_char>,
}

impl Program {
    /// Its first word names it: by a path, or by a name that is in one of the folders, between which there
    /// are colons.
    ///
    /// # Errors
    /// `InvalidInput` for no words, and for one with a NUL.
    pub fn new(words: &[&[u8]], folders: &[u8]) -> io::Result<Self> {
        let mut program = Self {
            paths: Vec::new(),
            words: Vec::new(),
            arguments: Vec::new(),
        };
        for word in words {
            if word.contains(&0) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let word = [word, b"\0".as_slice()].concat();
            program.arguments.push(word.as_ptr().cast());
            program.words.push(word);
        }
        program.arguments.push(ptr::null());
        let Some(name) = program.words.first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let has_folder = name.contains(&b'/');
        for folder in folders.split(|&byte| byte == b':') {
            let between = if folder.is_empty() || has_folder {
                b"".as_slice()
            } else {
                b"/"
            };
            let folder = if has_folder { b"" } else { folder };
            program.paths.push([folder, between, name].concat());
            if has_folder {
                break;
            }
        }
        Ok(program)
    }

    /// Becomes it. Comes back with what kept it from that, of the last of its paths where there is
    /// something.
    ///
    /// # Safety
    /// The environment is a list of texts that end in a NUL, and ends in a null pointer.
    pub unsafe fn run(&self, environment: *const *const c_char) -> io::Error {
        let mut error = io::Error::from_raw_os_error(libc::ENOENT);
        for path in &self.paths {
            // SAFETY: the path ends in a NUL, and the list of words in a null pointer; of the environment
            // the caller says so.
            unsafe { libc::execve(path.as_ptr().cast(), self.arguments.as_ptr(), environment) };
            let this = io::Error::last_os_error();
            if this.raw_os_error() != Some(libc::ENOENT) {
                error = this;
            }
        }
        error
    }
}
