//! Folders.

use super::check;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Makes a folder with these rights (mkdir(2)). std's way makes all those above it as well, if asked,
/// and has the code for that when it is not.
///
/// # Errors
/// What mkdir(2) says: it may be there already.
pub fn make(path: &Path, rights: libc::mode_t) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends in a NUL.
    check(unsafe { libc::mkdir(path.as_ptr(), rights) }).map(drop)
}
