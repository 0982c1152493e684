//! Files, by the C library's own calls. std's have a text for whoever asks them for nonsense, with all
//! that it takes to quote it, memory on the stack for short paths, and guesses how long a file is: 7 KB.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

#[cfg(unix)]
pub use platform::{
    exists, give_to, is_regular, is_socket, make_folder, open, owner, remove, rename, rights,
    variable,
};
#[cfg(not(unix))]
pub use platform::{exists, variable};

/// Bytes that are read at once.
const PIECE: usize = 4_096;

/// Opens a file to read it.
///
/// # Errors
/// What open(2) says.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    platform::open_to_read(path)
}

/// Reads all that is there, or a piece more than `most` bytes of it.
///
/// # Errors
/// What read(2) says. What was read until then is there.
pub fn read(from: &mut File, into: &mut Vec<u8>, most: usize) -> io::Result<()> {
    let mut piece = [0; PIECE];
    while into.len() <= most {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => into.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
mod platform {
    use super::super::check;
    use core::ffi::{CStr, c_char, c_int};
    #[cfg(not(all(feature = "router", target_os = "linux")))]
    use core::mem::MaybeUninit;
    use std::ffi::{OsStr, OsString};
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    pub fn open_to_read(path: &Path) -> io::Result<File> {
        open(path, libc::O_RDONLY, 0)
    }

    /// Opens a file (open(2)). One that this makes has these rights.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open(path: &Path, flags: c_int, rights: u16) -> io::Result<File> {
        let flags = flags | libc::O_CLOEXEC;
        let descriptor = with_name(path, &mut |path| {
            // SAFETY: the path ends in a NUL.
            unsafe { libc::open(path, flags, libc::c_uint::from(rights)) }
        })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Makes a folder with these rights.
    ///
    /// # Errors
    /// What mkdir(2) says: it may be there already.
    pub fn make_folder(path: &Path, rights: u16) -> io::Result<()> {
        // SAFETY: the path ends in a NUL.
        let mut make = |path| unsafe { libc::mkdir(path, libc::mode_t::from(rights)) };
        with_name(path, &mut make).map(drop)
    }

    /// Makes a file or folder a user's and a group's.
    ///
    /// # Errors
    /// What chown(2) says: only root may.
    pub fn give_to(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        // SAFETY: the path ends in a NUL.
        with_name(path, &mut |path| unsafe { libc::chown(path, uid, gid) }).map(drop)
    }

    /// Takes a name out of its folder.
    ///
    /// # Errors
    /// What unlink(2) says.
    pub fn remove(path: &Path) -> io::Result<()> {
        // SAFETY: the path ends in a NUL.
        with_name(path, &mut |path| unsafe { libc::unlink(path) }).map(drop)
    }

    /// Gives a file another name, which another file may have had.
    ///
    /// # Errors
    /// What rename(2) says.
    pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
        let to = with_nul(to)?;
        // SAFETY: both paths end in a NUL.
        let mut rename = |from| unsafe { libc::rename(from, to.as_ptr().cast()) };
        with_name(from, &mut rename).map(drop)
    }

    /// Whether there is something by that name, be it at the end of links.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        // SAFETY: the path ends in a NUL.
        with_name(path, &mut |path| unsafe { libc::access(path, libc::F_OK) }).is_ok()
    }

    /// The rights to a regular file, as chmod(1) has them. None for what is no such file.
    #[must_use]
    pub fn rights(path: &Path) -> Option<libc::mode_t> {
        let mode = about_path(path, Links::Followed).ok()?.mode;
        is_kind(mode, libc::S_IFREG).then_some(mode & 0o777)
    }

    /// Whose a file or folder is. None where it can't be looked at.
    #[must_use]
    pub fn owner(path: &Path) -> Option<u32> {
        Some(about_path(path, Links::Followed).ok()?.uid)
    }

    /// Whether what has that name is a socket. None if there is nothing; a link is no socket.
    #[must_use]
    pub fn is_socket(path: &Path) -> Option<bool> {
        let mode = about_path(path, Links::Themselves).ok()?.mode;
        Some(is_kind(mode, libc::S_IFSOCK))
    }

    /// Whether an open file is a regular one.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn is_regular(file: BorrowedFd<'_>) -> io::Result<bool> {
        Ok(is_kind(about_file(file)?.mode, libc::S_IFREG))
    }

    fn is_kind(mode: libc::mode_t, kind: libc::mode_t) -> bool {
        mode & libc::S_IFMT == kind
    }

    /// What is looked at where the last name of a path is a link.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Links {
        Followed,
        Themselves,
    }

    /// What stat(2) says of a file's kind and rights, and whose it is.
    #[derive(Clone, Copy)]
    struct About {
        mode: libc::mode_t,
        uid: u32,
    }

    #[cfg(not(all(feature = "router", target_os = "linux")))]
    impl About {
        fn new(stat: &libc::stat) -> Self {
            Self {
                mode: stat.st_mode,
                uid: stat.st_uid,
            }
        }
    }

    #[cfg(not(all(feature = "router", target_os = "linux")))]
    fn about_path(path: &Path, links: Links) -> io::Result<About> {
        let mut stat = MaybeUninit::<libc::stat>::zeroed();
        with_name(path, &mut |path| {
            // SAFETY: the path ends in a NUL, and there is room for a stat.
            match links {
                Links::Followed => unsafe { libc::stat(path, stat.as_mut_ptr()) },
                // SAFETY: as above.
                Links::Themselves => unsafe { libc::lstat(path, stat.as_mut_ptr()) },
            }
        })?;
        // SAFETY: all zeros is a valid stat, and the call has filled it in.
        Ok(About::new(&unsafe { stat.assume_init() }))
    }

    #[cfg(not(all(feature = "router", target_os = "linux")))]
    fn about_file(file: BorrowedFd<'_>) -> io::Result<About> {
        let mut stat = MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: there is room for a stat.
        check(unsafe { libc::fstat(file.as_raw_fd(), stat.as_mut_ptr()) })?;
        // SAFETY: as above.
        Ok(About::new(&unsafe { stat.assume_init() }))
    }

    /// Room for a `struct statx` (uapi/linux/stat.h), and where in it the user and the mode are.
    #[cfg(all(feature = "router", target_os = "linux"))]
    const STATX_WORDS: usize = 32;
    #[cfg(all(feature = "router", target_os = "linux"))]
    const UID: usize = 20;
    #[cfg(all(feature = "router", target_os = "linux"))]
    const MODE: usize = 28;

    /// The C library asks statx(2) as well, and has 1.5 KB for kernels before 4.11, which no router has
    /// that this is for.
    #[cfg(all(feature = "router", target_os = "linux"))]
    fn about_path(path: &Path, links: Links) -> io::Result<About> {
        let flags = match links {
            Links::Followed => 0,
            Links::Themselves => libc::AT_SYMLINK_NOFOLLOW,
        };
        let mut about = Err(io::ErrorKind::InvalidInput.into());
        with_name(path, &mut |path| {
            about = statx(libc::AT_FDCWD, path, flags);
            0
        })?;
        about
    }

    #[cfg(all(feature = "router", target_os = "linux"))]
    fn about_file(file: BorrowedFd<'_>) -> io::Result<About> {
        statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH)
    }

    #[cfg(all(feature = "router", target_os = "linux"))]
    fn statx(folder: c_int, path: *const c_char, flags: c_int) -> io::Result<About> {
        const STATX_TYPE_MODE_AND_UID: c_int = 11;
        let mut statx = [0u64; STATX_WORDS];
        let room = statx.as_mut_ptr();
        let what = STATX_TYPE_MODE_AND_UID;
        // SAFETY: the path ends in a NUL, and there is room for what the call fills in.
        check(unsafe { libc::syscall(libc::SYS_statx, folder, path, flags, what, room) })?;
        let bytes = room.cast::<u8>();
        Ok(About {
            // SAFETY: there are two bytes.
            mode: unsafe { bytes.add(MODE).cast::<u16>().read() }.into(),
            // SAFETY: there are four.
            uid: unsafe { bytes.add(UID).cast::<u32>().read() },
        })
    }

    /// Calls for a path, and again where a signal came between.
    fn with_name(path: &Path, call: &mut dyn FnMut(*const c_char) -> c_int) -> io::Result<c_int> {
        let name = with_nul(path)?;
        loop {
            match check(call(name.as_ptr().cast())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// A path with a NUL behind it, where the C library takes it to end.
    fn with_nul(path: &Path) -> io::Result<Vec<u8>> {
        let path = path.as_os_str().as_bytes();
        if path.contains(&0) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok([path, &[0]].concat())
    }

    /// A variable of the environment, which nobody changes here.
    #[must_use]
    pub fn variable(name: &CStr) -> Option<OsString> {
        // SAFETY: the name ends in a NUL; no thread writes to the environment.
        let value = unsafe { libc::getenv(name.as_ptr()) };
        // SAFETY: it is null or a text with a NUL behind it, which stays.
        let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })?;
        Some(OsStr::from_bytes(value.to_bytes()).to_owned())
    }
}

#[cfg(not(unix))]
mod platform {
    use core::ffi::CStr;
    use std::ffi::OsString;
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub fn open_to_read(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    /// Whether there is something by that name.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        path.exists()
    }

    /// A variable of the environment.
    #[must_use]
    pub fn variable(name: &CStr) -> Option<OsString> {
        std::env::var_os(name.to_str().ok()?)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_does_what_std_does() {
        let name = format!("shimmer-file-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        make_folder(&folder, 0o700).unwrap();
        let there = make_folder(&folder, 0o700).unwrap_err();
        assert_eq!(there.kind(), ErrorKind::AlreadyExists);
        let (one, other) = (folder.join("one"), folder.join("other"));
        assert!(!exists(&one) && rights(&one).is_none() && is_socket(&one).is_none());
        assert_eq!(open_to_read(&one).unwrap_err().kind(), ErrorKind::NotFound);

        let written = open(&one, libc::O_WRONLY | libc::O_CREAT, 0o600).unwrap();
        assert!(is_regular(written.as_fd()).unwrap() && exists(&one));
        fs::write(&one, [7; 3 * PIECE]).unwrap();
        assert_eq!(rights(&one), Some(0o600));
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&one).unwrap());
        assert_eq!(super::owner(&one), Some(owner));
        fs::set_permissions(&one, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(rights(&one), Some(0o644));
        assert_eq!((rights(&folder), is_socket(&one)), (None, Some(false)));

        rename(&one, &other).unwrap();
        assert_eq!(
            rename(&one, &other).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        for (most, length) in [(0, PIECE), (PIECE, 2 * PIECE), (usize::MAX, 3 * PIECE)] {
            let mut bytes = Vec::new();
            read(&mut open_to_read(&other).unwrap(), &mut bytes, most).unwrap();
            assert_eq!(bytes, vec![7; length]);
        }
        remove(&other).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(&one).unwrap();
        assert_eq!(is_socket(&one), Some(true));
        assert!(!is_regular(socket.as_fd()).unwrap());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_path_with_a_nul_in_it_is_no_file() {
        assert_eq!(
            open_to_read(Path::new("/dev/null\0")).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert!(!exists(Path::new("/dev/null\0")));
    }

    #[test]
    fn variables_are_those_of_std() {
        assert_eq!(variable(c"PATH"), std::env::var_os("PATH"));
        assert_eq!(variable(c"SHIMMER_NO_SUCH_VARIABLE"), None);
    }
}
