//! What a file's text configures, or what is wrong with it: by subject.

mod complete;
mod doors;
mod files;
mod form;
mod neighbours;
mod slips;
mod values;

use super::load;
use super::reader::Purpose;
use super::*;
use crate::proto::scheme::schedule::Pattern;
use crate::terms::Service;
use core::net::SocketAddr;
use std::fs;
use std::path::{Path, PathBuf};

const SECRET: &str = "S3cret-T0ken.of-32-b1ts";

/// Four lines; what follows them is the mirage's, from line 5 on.
const SSH: &str =
    "[mirage-ssh]\nsecret = S3cret-T0ken.of-32-b1ts\nport = 22\nrange = 10000-10999\n";

/// The same on line 5 to 8, under another name and with other ports.
const WEB: &str =
    "[mirage-web]\nsecret = S3cret-T0ken.of-32-b1ts\nport = 80\nrange = 11000-11999\n";

fn lines(errors: &Errors) -> Vec<String> {
    let line = |error: &Diagnostic| {
        let line = error.to_string();
        assert!(!line.contains(SECRET), "{line}");
        line.strip_prefix("t.conf:").unwrap().to_owned()
    };
    errors.iter().map(line).collect()
}

/// The daemon's configuration, or its errors without the file's name.
fn read(text: impl AsRef<[u8]>) -> Result<ServerConfig, Vec<String>> {
    ServerConfig::parse(Path::new("t.conf"), text.as_ref()).map_err(|errors| lines(&errors))
}

/// The client's.
fn read_client(text: impl AsRef<[u8]>) -> Result<ClientConfig, Vec<String>> {
    ClientConfig::parse(Path::new("t.conf"), text.as_ref()).map_err(|errors| lines(&errors))
}

#[track_caller]
fn server(text: impl AsRef<[u8]>) -> ServerConfig {
    read(text).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
}

#[track_caller]
fn client(text: impl AsRef<[u8]>) -> ClientConfig {
    read_client(text).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
}

#[track_caller]
fn errors(text: impl AsRef<[u8]>) -> Vec<String> {
    match read(text) {
        Ok(_) => panic!("there is no error"),
        Err(errors) => errors,
    }
}

/// Each of these lines makes [`SSH`] wrong in this one way.
#[track_caller]
fn each_is_wrong(cases: &[(&str, &str)]) {
    for (line, error) in cases {
        let text = format!("{SSH}{line}\n");
        assert_eq!(errors(&text), [format!("5: {error}")], "{line}");
        assert!(read_client(&text).is_err(), "{line}");
    }
}

fn secret(mirage: &ServerMirage) -> &Secret {
    mirage.secret.as_ref().unwrap()
}

fn pattern(mirage: &ServerMirage) -> Pattern {
    mirage.settings.pattern.unwrap()
}

fn service(mirage: &ServerMirage) -> SocketAddr {
    match mirage.settings.forward().unwrap().to {
        Service::At(service) => service,
        Service::Exec(_) => panic!("it is a process"),
    }
}

fn idle_s(mirage: &ServerMirage) -> Option<u32> {
    mirage.settings.plain.idle_s
}

/// A directory that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let directory = format!("shimmer-config-{}-{test}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        set_mode(&path, 0o600);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) {}
