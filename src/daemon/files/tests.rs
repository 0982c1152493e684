use super::*;
use rustix::fs::{FileType, mknodat};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

/// Nobody's number, and nobody's group's, for what only root can give away.
const NOBODY: u32 = 65_534;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("shimmer-files-{name}-{}", std::process::id());
        let path = fs::canonicalize(std::env::temp_dir()).unwrap().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }

    fn folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn file(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, "theirs").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn said<T>(result: io::Result<T>) -> String {
    result.err().expect("it is refused").to_string()
}

fn is_root() -> bool {
    geteuid().is_root()
}

#[test]
fn a_file_is_ours_alone_and_read_as_it_was_written() {
    let place = Place::new("ours");
    let path = place.0.join("state");
    assert_eq!(
        read(&path, 9).err().unwrap().kind(),
        io::ErrorKind::NotFound
    );
    let folder = Folder::of(&path).unwrap();
    fs::write(&path, "old").unwrap();
    let mut file = folder.create(&path).unwrap();
    io::Write::write_all(&mut file, b"0123456789").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(read(&path, 4).unwrap().bytes, b"0123");
    let other = place.0.join("other");
    rename(&path, &other).unwrap();
    remove(&other).unwrap();
    remove(&other).unwrap();
    assert!(!path.exists() && !other.exists());
}

#[test]
fn neither_a_link_nor_a_pipe_nor_a_folder_is_a_file() {
    let place = Place::new("kinds");
    let target = place.file("target");
    let [link, pipe, other] = ["link", "pipe", "other"].map(|name| place.0.join(name));
    symlink(&target, &link).unwrap();
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::hard_link(&target, &other).unwrap();
    let folder = place.folder("folder", 0o700);
    let append = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    for (path, why) in [
        (&link, "is a link"),
        (&pipe, "is not a regular file"),
        (&folder, "is not a regular file"),
        (&other, "is a hard link"),
    ] {
        let read = read(path, 9);
        assert!(is_not_ours(read.as_ref().err().unwrap()));
        let said = said(read);
        assert!(said.starts_with(why), "{said}");
        let opened = Folder::of_log(path).unwrap().open(path, append, 0o640);
        assert!(opened.is_err(), "{}", path.display());
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
    // A new one takes their place, and what a link leads to stays as it is.
    for path in [&link, &pipe] {
        Folder::of(path).unwrap().create(path).unwrap();
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
}

#[test]
fn what_others_may_write_is_named() {
    let place = Place::new("open");
    let open = place.folder("open", 0o777);
    let why = format!(
        "others may write to {0}; run chmod go-w {0}",
        open.display()
    );
    assert_eq!(said(Folder::of(&open.join("file"))), why);
    assert_eq!(said(Folder::of(&open.join("..").join("file"))), why);
    // As /tmp.
    let sticky = place.folder("sticky", 0o1777);
    Folder::of(&sticky.join("file")).unwrap();
    let file = place.file("file");
    fs::set_permissions(&file, Permissions::from_mode(0o620)).unwrap();
    assert!(said(read(&file, 9)).starts_with("others may write to it"));
    // A group's own log is no harm.
    let log = |path: &Path| Folder::of_log(path)?.open(path, OFlags::WRONLY, 0);
    log(&file).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o602)).unwrap();
    log(&file).unwrap_err();
    log(Path::new("/dev/null")).unwrap();
    said(Folder::of(Path::new("/dev/null")).unwrap().open(
        Path::new("/dev/null"),
        OFlags::WRONLY,
        0,
    ));
}

#[test]
fn links_to_folders_are_followed_and_have_an_end() {
    let place = Place::new("links");
    let folder = place.folder("folder", 0o700);
    place.file("folder/file");
    for (name, target) in [
        ("relative", Path::new("folder")),
        ("absolute", &folder),
        ("twice", Path::new("relative/../absolute")),
    ] {
        symlink(target, place.0.join(name)).unwrap();
        let file = place.0.join(name).join("file");
        assert_eq!(read(&file, 9).unwrap().bytes, b"theirs", "{name}");
    }
    symlink("endless", place.0.join("endless")).unwrap();
    let endless = Folder::of(&place.0.join("endless/file"));
    assert_eq!(endless.err().unwrap().raw_os_error(), Some(libc::ELOOP));
}

/// Only root can give something away.
#[test]
fn what_is_somebody_elses_is_named_with_its_owner() {
    if !is_root() {
        return;
    }
    let place = Place::new("theirs");
    let ends_well = |said: String, path: &Path| {
        let path = path.display();
        let (begin, end) = said.split_once(" belongs to ").unwrap();
        assert_eq!(begin, path.to_string());
        assert!(
            end.ends_with("; it has to be root's or the daemon's own"),
            "{said}"
        );
    };
    let folder = place.folder("folder", 0o700);
    let inner = place.folder("folder/inner", 0o700);
    chown(&folder, Some(NOBODY), None).unwrap();
    ends_well(said(Folder::of(&folder.join("file"))), &folder);
    ends_well(said(Folder::of(&inner.join("file"))), &folder);
    let sticky = place.folder("sticky", 0o1777);
    let [planted, link] = ["planted", "link"].map(|name| sticky.join(name));
    fs::create_dir(&planted).unwrap();
    symlink(&place.0, &link).unwrap();
    for path in [&planted, &link] {
        lchown(path, Some(NOBODY), None).unwrap();
        ends_well(said(Folder::of(&path.join("file"))), path);
    }
    let file = place.file("file");
    chown(&file, Some(NOBODY), None).unwrap();
    let error = read(&file, 9).err().unwrap();
    assert!(
        is_others(&error) && error.to_string().starts_with("belongs to "),
        "{error}"
    );

    // A group that is neither root's nor ours.
    let group = place.folder("group", 0o775);
    Folder::of(&group.join("file")).unwrap();
    chown(&group, None, Some(NOBODY)).unwrap();
    said(Folder::of(&group.join("file")));
    Folder::of_log(&group.join("file")).unwrap();
}

#[test]
fn a_folder_is_made_for_its_owner() {
    let place = Place::new("made");
    let path = place.0.join("made");
    make_folder(&path, 0o700, None).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    make_folder(&path, 0o700, None).unwrap_err();
    if is_root() {
        let theirs = place.0.join("theirs");
        make_folder(&theirs, 0o755, Some((NOBODY, NOBODY))).unwrap();
        let about = fs::metadata(&theirs).unwrap();
        assert_eq!((about.uid(), about.gid()), (NOBODY, NOBODY));
    }
}
